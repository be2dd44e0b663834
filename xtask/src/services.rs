//! `cargo xtask services`: the PostgreSQL and Kafka of the tests.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use omni_box_harness::services::{self, Options, Provider, Services, Status};
use omni_box_harness::{DATABASE_URL, KAFKA_BROKERS};
use serde_json::json;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Finds the two servers, or starts what is missing.
    Up {
        /// Where a missing server may come from.
        #[arg(long, value_enum, default_value_t = From::Any)]
        from: From,
    },
    /// Ends what `up` started and removes its data.
    Down,
    /// Shows where the servers are and whether they answer; exits with 1 if one does not.
    Status(Output),
    /// Prints the variables that tests read: eval "$(cargo xtask services env)".
    Env(Output),
}

#[derive(Args)]
pub(crate) struct Output {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum From {
    /// Docker where a daemon answers, else local binaries.
    Any,
    /// Docker.
    Docker,
    /// Local binaries.
    Local,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let mut options = Options::default();
    match command {
        Command::Up { from } => {
            options.provider = match from {
                From::Any => Provider::Any,
                From::Docker => Provider::Docker,
                From::Local => Provider::Local,
            };
            print_env(&services::up(&options).await?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Down => {
            for record in services::down(&options).await? {
                eprintln!("{}: ended {}", record.service, record.origin);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(output) => status(&services::status(&options).await?, &output),
        Command::Env(output) => env(&services::status(&options).await?, &output),
    }
}

fn print_env(services: &Services) {
    for (variable, value) in services.env() {
        println!("export {variable}='{value}'");
    }
}

fn status(all: &[Status], output: &Output) -> Result<ExitCode> {
    if output.json {
        println!("{}", serde_json::to_string_pretty(all)?);
    } else {
        for Status { service, address, origin, answers } in all {
            let address = address.as_deref().unwrap_or("-");
            let answers = if *answers { "answers" } else { "does not answer" };
            println!("{service}: {origin}, {address}, {answers}");
        }
    }
    Ok(if all.iter().all(|status| status.answers) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn env(all: &[Status], output: &Output) -> Result<ExitCode> {
    let mut addresses = Vec::new();
    for status in all {
        let address = status.address.as_deref().filter(|_| status.answers);
        addresses
            .push(address.with_context(|| format!("{} is not up: cargo xtask services up", status.service))?);
    }
    let [database, brokers] = addresses[..] else { anyhow::bail!("there are two servers") };
    if output.json {
        println!("{}", json!({ DATABASE_URL: database, KAFKA_BROKERS: brokers }));
    } else {
        println!("export {DATABASE_URL}='{database}'\nexport {KAFKA_BROKERS}='{brokers}'");
    }
    Ok(ExitCode::SUCCESS)
}
