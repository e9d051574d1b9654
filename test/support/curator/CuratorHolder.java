import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;

/**
 * A Java service that holds a lock of Curator's.
 *
 * Arguments: connect string, layout, path. Commands on standard input, one a line, each answered with one line:
 * "acquire MS" with "acquired" or "busy", "release" with "released".
 */
public class CuratorHolder {
  public static void main(String[] args) throws Exception {
    CuratorFramework client =
        CuratorFrameworkFactory.newClient(
            args[0], 4_000, 4_000, new ExponentialBackoffRetry(100, 5));
    client.start();
    client.blockUntilConnected();
    InterProcessLock lock =
        args[1].equals("mutex")
            ? new InterProcessMutex(client, args[2])
            : new InterProcessSemaphoreMutex(client, args[2]);
    System.out.println("ready");
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("acquire")) {
        boolean acquired = lock.acquire(Long.parseLong(words[1]), TimeUnit.MILLISECONDS);
        System.out.println(acquired ? "acquired" : "busy");
      } else {
        lock.release();
        System.out.println("released");
      }
    }
    client.close();
  }
}
