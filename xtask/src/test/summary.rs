//! The end of the output: how many tests passed, and the name of each that did not.

use std::time::Duration;

use super::minutes;
use super::run::Report;

/// Whether everything passed, and the text that says so.
pub(super) fn summary(reports: &[Report], took: Duration) -> (bool, String) {
    let passed: u64 = reports.iter().map(|report| report.counts.passed).sum();
    let ignored: u64 = reports.iter().map(|report| report.counts.ignored).sum();
    let failed: usize = reports.iter().map(|report| report.counts.failed.len()).sum();
    let programs = reports.len();
    let took = minutes(took);
    let mut text =
        format!("tests: {passed} passed, {failed} failed, {ignored} ignored, {programs} programs, {took}\n");
    let broken: Vec<&Report> = reports.iter().filter(|report| !report.succeeded()).collect();
    if !broken.is_empty() {
        text += "\nFAILED:\n";
    }
    for Report { name, counts, status } in &broken {
        for test in &counts.failed {
            text += &format!("    {name}  {test}\n");
        }
        if counts.failed.is_empty() {
            text += &format!("    {name}  ended with {status}, and names no test\n");
        }
    }
    (broken.is_empty(), text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::test::output::Counts;

    fn report(name: &str, passed: u64, failed: &[&str], status: i32) -> Report {
        let failed = failed.iter().map(|test| (*test).to_owned()).collect();
        let counts = Counts { passed, ignored: 1, failed };
        Report { name: name.to_owned(), counts, status: ExitStatus::from_raw(status) }
    }

    #[test]
    fn every_test_that_failed_is_named_with_its_package_and_binary() {
        let reports = [
            report("omni-box-core it", 7, &[], 0),
            report("omni-box-kafka it", 5, &["consume::a", "publish::b"], 101 << 8),
            report("omni-box-chaos it", 0, &[], 9),
        ];
        let (passed, text) = summary(&reports, Duration::from_secs(127));
        assert!(!passed);
        assert_eq!(
            text,
            "tests: 12 passed, 2 failed, 3 ignored, 3 programs, 2 min 07 s\n
FAILED:
    omni-box-kafka it  consume::a
    omni-box-kafka it  publish::b
    omni-box-chaos it  ended with signal: 9 (SIGKILL), and names no test\n"
        );
    }

    #[test]
    fn a_run_without_a_failure_lists_none() {
        let (passed, text) = summary(&[report("a it", 7, &[], 0)], Duration::from_secs(59));
        assert!(passed);
        assert_eq!(text, "tests: 7 passed, 0 failed, 1 ignored, 1 programs, 0 min 59 s\n");
    }
}
