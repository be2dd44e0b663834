//! The quickstart as a user runs it: the built program, what it prints, and how it exits.

mod refused;
mod shown;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest time that any run may take; a run that works is promised in 15 s on a machine of its own.
const DEADLINE: Duration = Duration::from_secs(60);

/// A run that has ended.
struct Run {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Run {
    fn new(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quickstart"))
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built program starts");
        // it prints less than a pipe holds, so its output can be read after its end
        let deadline = Instant::now() + DEADLINE;
        while child.try_wait().expect("our own child").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("our own child");
                let Output { stdout, stderr, .. } = child.wait_with_output().expect("our own child");
                panic!("still running after {DEADLINE:?}:\n{}{}", text(stdout), text(stderr));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Output { stdout, stderr, status } = child.wait_with_output().expect("our own child");
        Self { stdout: text(stdout), stderr: text(stderr), code: status.code() }
    }

    /// Checks that it ended well, and gives the lines that it printed.
    #[track_caller]
    fn lines(&self) -> Vec<&str> {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout.lines().collect()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it prints text")
}
