//! What happens in a storm, and when.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::cast::PROGRAMS;
use super::fault::{Fault, Target};

/// Faults one after the other, one or two at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Faults that happen together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is done.
    pub faults: Vec<Fault>,
    /// Milliseconds until it is undone.
    pub lasts_ms: u64,
    /// Milliseconds until the next step.
    pub calm_ms: u64,
}

impl Step {
    pub(super) fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms)
    }

    pub(super) fn calm(&self) -> Duration {
        Duration::from_millis(self.calm_ms)
    }
}

impl Plan {
    /// The plan of a seed: always the same.
    pub fn draw(seed: u64, faults: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut left = faults;
        let mut steps = Vec::new();
        while left > 0 {
            let mut together = vec![Fault::draw(&mut random, PROGRAMS)];
            if left > 1 && random.u8(..10) < 4 {
                let second = Fault::draw(&mut random, PROGRAMS);
                if !second.target().meets(together[0].target()) {
                    together.push(second);
                }
            }
            left -= together.len();
            let (lasts_ms, calm_ms) = (random.u64(200..2_500), random.u64(100..1_200));
            steps.push(Step { faults: together, lasts_ms, calm_ms });
        }
        Self { seed, steps }
    }

    /// Reads a plan that was saved.
    ///
    /// # Errors
    /// When the file cannot be read, holds no plan, or one that no stage can play.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let plan: Self =
            serde_json::from_str(&text).with_context(|| format!("{} holds no plan", path.display()))?;
        for fault in plan.steps.iter().flat_map(|step| &step.faults) {
            if let Target::Program(number) = fault.target() {
                ensure!(number < PROGRAMS, "there are programs 0 to {}, not {number}", PROGRAMS - 1);
            }
        }
        for Step { faults, .. } in &plan.steps {
            let targets: Vec<Target> = faults.iter().map(Fault::target).collect();
            let meet = |(number, target): (usize, &Target)| {
                targets[..number].iter().any(|other| other.meets(*target))
            };
            ensure!(
                !targets.iter().enumerate().any(meet),
                "two faults of a step have one target: {faults:?}"
            );
        }
        Ok(plan)
    }

    /// Saves it for [`read`](Self::read).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// How many faults it has.
    pub fn faults(&self) -> usize {
        self.steps.iter().map(|step| step.faults.len()).sum()
    }

    /// The same without some of its faults, counted from the first; a step without faults is gone.
    pub(super) fn without(&self, dropped: std::ops::Range<usize>) -> Self {
        let mut number = 0;
        let mut steps = self.steps.clone();
        for step in &mut steps {
            step.faults.retain(|_| {
                number += 1;
                !dropped.contains(&(number - 1))
            });
        }
        steps.retain(|step| !step.faults.is_empty());
        Self { seed: self.seed, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_of_as_many_faults() {
        for seed in 0..50 {
            let plan = Plan::draw(seed, 40);
            assert_eq!(plan, Plan::draw(seed, 40));
            assert_eq!(plan.faults(), 40);
        }
        assert_ne!(Plan::draw(1, 40).steps, Plan::draw(2, 40).steps);
    }

    #[test]
    fn a_thousand_faults_hold_each_kind() {
        let plan = Plan::draw(1, 1_000);
        let mut kinds: Vec<String> = Vec::new();
        for fault in plan.steps.iter().flat_map(|step| &step.faults) {
            let kind = fault.to_string().split(' ').next().unwrap_or_default().to_owned();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        assert_eq!(kinds.len(), 27, "{kinds:?}");
    }

    #[test]
    fn a_plan_that_was_saved_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        let plan = Plan::draw(3, 200);
        plan.save(&path).unwrap();
        assert_eq!(Plan::read(&path).unwrap(), plan);
    }

    #[test]
    fn a_plan_that_cannot_be_played_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        let refusal = |faults: &[Fault]| {
            let step = Step { faults: faults.to_vec(), lasts_ms: 1, calm_ms: 1 };
            Plan { seed: 0, steps: vec![step] }.save(&path).unwrap();
            Plan::read(&path).unwrap_err().to_string()
        };
        assert_eq!(refusal(&[Fault::Kill(9)]), "there are programs 0 to 8, not 9");
        let twice = refusal(&[Fault::LockLane, Fault::Terminate]);
        assert!(twice.contains("one target"), "{twice}");
    }

    #[test]
    fn faults_are_dropped_by_their_numbers() {
        let step = |faults: &[usize]| Step {
            faults: faults.iter().map(|number| Fault::Kill(*number)).collect(),
            lasts_ms: 1,
            calm_ms: 1,
        };
        let plan = Plan { seed: 0, steps: vec![step(&[0, 1]), step(&[2]), step(&[3, 4])] };
        assert_eq!(plan.without(1..4).steps, [step(&[0]), step(&[4])]);
        assert_eq!(plan.without(5..9), plan);
    }
}
