//! Runs programs of tests, one after the other or side by side, all of them also when one fails.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};

use super::minutes;
use super::output::{Counts, Reader};

/// Something that `cargo test` would run.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) command: Command,
}

/// How a job ended.
pub(super) struct Report {
    pub(super) name: String,
    pub(super) counts: Counts,
    pub(super) status: ExitStatus,
}

impl Report {
    pub(super) fn succeeded(&self) -> bool {
        self.status.success() && self.counts.failed.is_empty()
    }
}

/// One job after the other; what it prints goes to `out` at once.
pub(super) fn one_by_one(jobs: Vec<Job>, out: &mut impl Write) -> Result<Vec<Report>> {
    let (start, of) = (Instant::now(), jobs.len());
    let numbered = jobs.into_iter().zip(1..);
    let reports = numbered.map(|(Job { name, mut command }, number)| {
        writeln!(out, "\n[{number}/{of}] {name} ({} since the first)", minutes(start.elapsed()))?;
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {name}"))?;
        let counts = pass_on(&mut child, out)?;
        Ok(Report { name, counts, status: child.wait()? })
    });
    reports.collect()
}

/// Passes on what a program prints, and reads it.
fn pass_on(child: &mut Child, out: &mut impl Write) -> Result<Counts> {
    let mut stdout = BufReader::new(child.stdout.take().context("a program has no standard output")?);
    let mut reader = Reader::default();
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        out.flush()?;
        reader.line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(reader.counts())
}

/// One more than there are processors at a time, as some mostly wait; what a job prints goes to `out` when it has ended.
pub(super) fn side_by_side(jobs: Vec<Job>, out: &mut (impl Write + Send)) -> Result<Vec<Report>> {
    let (start, of) = (Instant::now(), jobs.len());
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let waiting = Mutex::new(jobs.into_iter());
    let shown = Mutex::new((0, out));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut reports = Vec::new();
        while let Some(Job { name, mut command }) = next() {
            let output = command.output().with_context(|| format!("cannot run {name}"))?;
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let (ended, out) = &mut *shown;
            *ended += 1;
            writeln!(out, "\n[{ended}/{of}] {name} ({} since the first)", minutes(start.elapsed()))?;
            out.write_all(&output.stdout)?;
            out.write_all(&output.stderr)?;
            drop(shown);
            let mut reader = Reader::default();
            String::from_utf8_lossy(&output.stdout).lines().for_each(|line| reader.line(line));
            reports.push(Report { name, counts: reader.counts(), status: output.status });
        }
        Ok(reports)
    };
    let outcomes: Vec<Result<Vec<Report>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|joined| joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))).collect()
    });
    let mut reports: Vec<Report> =
        outcomes.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILS: &str = "printf 'running 1 test\\n\\nfailures:\\n    x::y\\n\\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\\n'; exit 101";

    fn job(name: &str, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job { name: name.to_owned(), command }
    }

    #[test]
    fn everything_runs_and_what_fails_is_named() {
        type Run = fn(Vec<Job>, &mut Vec<u8>) -> Result<Vec<Report>>;
        for run in [one_by_one as Run, side_by_side as Run] {
            let mut out = Vec::new();
            let jobs = vec![job("a", FAILS), job("b", "true"), job("c", "kill -9 $$"), job("d", FAILS)];
            let reports = run(jobs, &mut out).expect("all programs can be run");
            let ended: Vec<_> = reports
                .iter()
                .map(|report| (report.name.as_str(), report.succeeded(), report.counts.failed.as_slice()))
                .collect();
            let failed = ["x::y".to_owned()];
            let expected: [(_, _, &[String]); 4] =
                [("a", false, &failed), ("b", true, &[]), ("c", false, &[]), ("d", false, &failed)];
            assert_eq!(ended, expected);
            let missing = Job { name: "e".to_owned(), command: Command::new("no-such-program") };
            assert!(run(vec![missing], &mut Vec::new()).is_err());
            let out = String::from_utf8(out).expect("these programs print text");
            for text in ["[1/4] ", "[4/4] ", "test result: FAILED. 3 passed; 1 failed"] {
                assert!(out.contains(text), "{out}");
            }
        }
    }
}
