import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;

/**
 * A Java service that holds locks of Curator's.
 *
 * Arguments: connect string, session timeout. Commands on standard input, one a line, each answered with one line:
 * "acquire RECIPE PATH MS" with "acquired" or "busy", "release RECIPE PATH" with "released".
 */
public class CuratorHolder {
  public static void main(String[] args) throws Exception {
    CuratorFramework client =
        CuratorFrameworkFactory.newClient(
            args[0], Integer.parseInt(args[1]), 4_000, new ExponentialBackoffRetry(100, 5));
    client.start();
    client.blockUntilConnected();
    Map<String, InterProcessLock> locks = new HashMap<>();
    System.out.println("ready");
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      String[] words = line.split(" ");
      InterProcessLock lock =
          locks.computeIfAbsent(words[1] + words[2], it -> lock(client, words[1], words[2]));
      if (words[0].equals("acquire")) {
        boolean acquired = lock.acquire(Long.parseLong(words[3]), TimeUnit.MILLISECONDS);
        System.out.println(acquired ? "acquired" : "busy");
      } else {
        lock.release();
        System.out.println("released");
      }
    }
    client.close();
  }

  private static InterProcessLock lock(CuratorFramework client, String recipe, String path) {
    switch (recipe) {
      case "mutex":
        return new InterProcessMutex(client, path);
      case "semaphore-mutex":
        return new InterProcessSemaphoreMutex(client, path);
      case "write":
        return new InterProcessReadWriteLock(client, path).writeLock();
      case "read":
        return new InterProcessReadWriteLock(client, path).readLock();
      default:
        throw new IllegalArgumentException(recipe);
    }
  }
}
