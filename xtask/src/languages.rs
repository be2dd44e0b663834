//! Python, Node and Go with what tests in these languages need, installed below the build's folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use omni_box_harness::{GO, NODE, PYTHON};

use crate::cargo::{root, run};

/// What Python needs, one requirement a line.
const REQUIREMENTS: &str = "crates/omni-box/tests/it/interop/requirements.txt";
/// The oldest Python that the Python library omni-box takes.
const OLDEST: (u32, u32) = (3, 12);
const OF_NODE: &str = "pg@8";
const OF_GO: &str = "github.com/jackc/pgx/v5@v5";

/// Installs what a language needs, and says where.
type Install = fn() -> Result<PathBuf>;

/// Variables for the tests of each language that is on this machine; of the others it says that their tests are passed over.
pub(crate) fn variables() -> Vec<(&'static str, PathBuf)> {
    let languages: [(_, _, Install); 3] = [("Python", PYTHON, python), ("Node", NODE, node), ("Go", GO, go)];
    let installed = languages.into_iter().filter_map(|(language, variable, install)| match install() {
        Ok(path) => Some((variable, path)),
        Err(error) => {
            println!("passes over the tests in {language}: {error:#}");
            None
        }
    });
    installed.collect()
}

/// The interpreter of a virtual environment with all requirements, which is made if it is not there.
///
/// # Errors
/// When no Python is new enough, or a requirement cannot be had.
pub(crate) fn python() -> Result<PathBuf> {
    let path = root().join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let dir = folder("python");
    let python = dir.join("bin/python");
    // the interpreter behind an old environment may have gone
    if is_installed(&dir, &wanted) && version(&python).is_some() {
        return Ok(python);
    }
    let (major, minor) = OLDEST;
    let Some(base) = pythons().into_iter().find(|path| version(path) >= Some(OLDEST)) else {
        bail!("no Python {major}.{minor} or newer is on this machine");
    };
    begin(&dir)?;
    checked(Command::new(base).args(["-m", "venv"]).arg(&dir))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    checked(Command::new(&python).args(pip).arg(&path))?;
    end(&dir, &wanted)?;
    Ok(python)
}

fn node() -> Result<PathBuf> {
    let dir = folder("node");
    if !is_installed(&dir, OF_NODE) {
        found("npm", "--version")?;
        begin(&dir)?;
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        checked(Command::new("npm").args(npm).arg(&dir).arg(OF_NODE))?;
        end(&dir, OF_NODE)?;
    }
    found("node", "--version")?;
    Ok(dir)
}

fn go() -> Result<PathBuf> {
    let dir = folder("go");
    found("go", "version")?;
    if !is_installed(&dir, OF_GO) {
        begin(&dir)?;
        for arguments in [["mod", "init", "example"].as_slice(), &["get", OF_GO]] {
            checked(Command::new("go").args(arguments).current_dir(&dir).stderr(Stdio::null()))?;
        }
        end(&dir, OF_GO)?;
    }
    Ok(dir)
}

fn folder(name: &str) -> PathBuf {
    omni_box_harness::services::default_dir().with_file_name(name)
}

/// Whether a folder holds just this.
fn is_installed(dir: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(dir.join("installed.txt")).is_ok_and(|installed| installed == wanted)
}

fn begin(dir: &Path) -> Result<()> {
    println!("installs {}", dir.display());
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

fn end(dir: &Path, wanted: &str) -> Result<()> {
    std::fs::write(dir.join("installed.txt"), wanted)
        .with_context(|| format!("cannot write to {}", dir.display()))
}

/// Interpreters that may be there: on the path, newest first, and those of pyenv.
fn pythons() -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> =
        ["python3.14", "python3.13", "python3.12", "python3"].map(PathBuf::from).into();
    let home = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    if let Some(versions) = home.and_then(|home| std::fs::read_dir(home.join("versions")).ok()) {
        let mut found: Vec<PathBuf> =
            versions.filter_map(|entry| Some(entry.ok()?.path().join("bin/python3"))).collect();
        found.sort();
        candidates.extend(found);
    }
    candidates
}

/// Major and minor version of an interpreter, if it runs.
fn version(python: &Path) -> Option<(u32, u32)> {
    let script = "import sys; print(sys.version_info.major, sys.version_info.minor)";
    let output = Command::new(python).args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether a program is there, by an argument that makes it end at once.
fn found(program: &str, argument: &str) -> Result<()> {
    let silent = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    anyhow::ensure!(silent.is_ok_and(|status| status.success()), "{program} is not on this machine");
    Ok(())
}

fn checked(command: &mut Command) -> Result<()> {
    let status = run(command)?;
    anyhow::ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_interpreter_has_no_version() {
        for path in ["/no/such/python", "/bin/true", "/bin/false"] {
            assert_eq!(version(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_program_that_is_missing_or_fails_is_named() {
        assert!(found("true", "").is_ok());
        for program in ["false", "/no/such/program"] {
            assert!(found(program, "").is_err_and(|error| error.to_string().contains(program)));
        }
    }
}
