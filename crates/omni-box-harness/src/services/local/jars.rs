//! Apache Kafka's jars, fetched once by Maven, and the Java that runs them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::process::run;

const VERSION: &str = "4.3.1";
const OLDEST_JAVA: u32 = 17;
const INSTALL_JAVA: &str = "install a JDK of version 17 or later: apt-get install openjdk-17-jdk-headless";
const INSTALL_MAVEN: &str = "install Maven: apt-get install maven";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>omni-box</groupId>
  <artifactId>kafka-server</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder with all of Kafka's jars, below `cache`.
pub(in crate::services) fn fetch(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("kafka-{VERSION}"));
    let jars = home.join("lib");
    std::fs::create_dir_all(&home)?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    if jars.is_dir() {
        return Ok(jars);
    }
    eprintln!("kafka: fetching Apache Kafka {VERSION} with Maven");
    let pom = home.join("pom.xml");
    std::fs::write(&pom, POM.replace("VERSION", VERSION))?;
    let partial = home.join("partial");
    run(Command::new("mvn")
        // Strict checksums: a file that differs from its published sum fails the build.
        .args(["--batch-mode", "--quiet", "--strict-checksums", "--file"])
        .arg(&pom)
        .arg(COPY)
        .arg(format!("-DoutputDirectory={}", partial.display())))
    .context(INSTALL_MAVEN)?;
    std::fs::rename(&partial, &jars)?;
    Ok(jars)
}

/// A Java that is new enough: that of JAVA_HOME, else that of PATH.
pub(in crate::services) fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let java = home.filter(|java| java.is_file()).unwrap_or_else(|| "java".into());
    let output = Command::new(&java).arg("-version").output().context(INSTALL_JAVA)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = major(&text).with_context(|| format!("{} tells no version", java.display()))?;
    anyhow::ensure!(version >= OLDEST_JAVA, "{} has version {version}: {INSTALL_JAVA}", java.display());
    Ok(java)
}

/// `17` from `openjdk version "17.0.13" 2024-10-15`.
fn major(text: &str) -> Option<u32> {
    text.split('"').nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn reads_javas_version() {
        assert_eq!(major("openjdk version \"17.0.13\" 2024-10-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(major("java version \"1.8.0_402\""), Some(1));
        assert_eq!(major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major("no such thing"), None);
    }
}
