//! What Rust's test runner prints, read line by line.

/// The sum of all `test result:` lines of a program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) ignored: u64,
    /// Names of the tests that failed.
    pub(super) failed: Vec<String>,
}

/// Takes the output of a program, which may hold the results of several runs, as that of doctests does.
#[derive(Default)]
pub(super) struct Reader {
    counts: Counts,
    /// What stands under the last `failures:`; `None` where no list is open.
    listed: Option<Vec<String>>,
}

impl Reader {
    /// Takes the next line, without its end.
    pub(super) fn line(&mut self, line: &str) {
        // A runner lists what failed twice: with what each test printed, and then by name alone.
        if line == "failures:" {
            self.listed = Some(Vec::new());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.counts.passed += number_before(result, " passed");
            self.counts.ignored += number_before(result, " ignored");
            self.counts.failed.extend(self.listed.take().unwrap_or_default());
        } else if !line.is_empty() {
            self.listed = match (self.listed.take(), line.strip_prefix("    ")) {
                (Some(mut listed), Some(name)) => {
                    listed.push(name.to_owned());
                    Some(listed)
                }
                _ => None,
            };
        }
    }

    /// What all lines say together.
    pub(super) fn counts(self) -> Counts {
        self.counts
    }
}

/// `7` of `ok. 7 passed; 0 failed`.
fn number_before(text: &str, what: &str) -> u64 {
    let before = text.split_once(what).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Counts {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader.counts()
    }

    #[test]
    fn tests_are_counted_and_those_that_failed_named() {
        let output = "
running 4 tests
test relay::a ... ok
test relay::b ... FAILED
test relay::c ... ignored
test relay::d ... FAILED

failures:

---- relay::b stdout ----
    indented as a name is

failures: two
thread 'relay::b' panicked at x.rs:1:1:
failures:
    not a name: printed by the test

---- relay::d stdout ----
boom

failures:
    relay::b
    relay::d

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s
";
        let failed = ["relay::b", "relay::d"].map(str::to_owned).to_vec();
        assert_eq!(read(output), Counts { passed: 1, ignored: 1, failed });
    }

    #[test]
    fn the_results_of_several_runs_are_added() {
        let output = "
running 1 test
test crates/a/src/lib.rs - b (line 3) ... FAILED

failures:
    crates/a/src/lib.rs - b (line 3)

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s

running 12 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s
";
        let failed = vec!["crates/a/src/lib.rs - b (line 3)".to_owned()];
        assert_eq!(read(output), Counts { passed: 12, ignored: 0, failed });
    }

    #[test]
    fn a_run_that_was_cut_off_has_no_result() {
        assert_eq!(read("running 2 tests\ntest a ... ok\n"), Counts::default());
    }
}
