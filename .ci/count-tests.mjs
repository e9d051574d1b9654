/** Prints `tests: N passed, N failed, N skipped` from the JSON report of Vitest. Exits with 1 if none was run or one failed. */
import { readFileSync } from 'node:fs';

const text = readFileSync(process.argv[2], 'utf8');
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
const failed = numFailedTests + brokenFiles;
console.log(`tests: ${passed} passed, ${failed} failed, ${numPendingTests + numTodoTests} skipped`);
process.exit(passed > 0 && failed === 0 ? 0 : 1);
