/** Prints `tests: N passed, N failed, N skipped` from JSON reports of Vitest. Exits with 1 if one of them ran none, or a test failed. */
import { readFileSync } from 'node:fs';

/** What one run says. */
function count(path) {
  const text = readFileSync(path, 'utf8');
  const report = text === '' ? {} : JSON.parse(text);
  const {
    numPassedTests: passed = 0,
    numFailedTests = 0,
    numPendingTests = 0,
    numTodoTests = 0,
  } = report;
  // A file that could not be loaded, or a set-up that failed, has no failed test of its own.
  const brokenFiles = (report.testResults ?? []).filter(
    (file) =>
      file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
  ).length;
  return { passed, failed: numFailedTests + brokenFiles, skipped: numPendingTests + numTodoTests };
}

const counts = process.argv.slice(2).map(count);
const sum = (name) => counts.reduce((total, each) => total + each[name], 0);
console.log(`tests: ${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exit(counts.every(({ passed }) => passed > 0) && sum('failed') === 0 ? 0 : 1);
