//! The fewest faults that still fail.

use super::plan::Plan;

/// Drops faults while what is left fails: halves first, then smaller pieces, at last single faults (delta debugging, after Zeller and
/// Hildebrandt). What fails by chance only may be shrunk too far; the answer is a plan that failed once.
pub(super) async fn shrink<F>(mut plan: Plan, mut fails: F) -> Plan
where
    F: AsyncFnMut(&Plan) -> bool,
{
    let mut piece = plan.faults().div_ceil(2);
    while plan.faults() > 1 {
        let mut is_smaller = false;
        let mut from = 0;
        while from < plan.faults() {
            let rest = plan.without(from..from + piece);
            if rest.faults() > 0 && fails(&rest).await {
                plan = rest;
                is_smaller = true;
            } else {
                from += piece;
            }
        }
        if piece == 1 && !is_smaller {
            break;
        }
        piece = piece.div_ceil(2).min(plan.faults().div_ceil(2));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::fault::Fault;
    use crate::storm::plan::Step;

    fn plan(faults: usize) -> Plan {
        let step = |number| Step { faults: vec![Fault::Kill(number)], lasts_ms: 1, calm_ms: 1 };
        Plan { seed: 0, steps: (0..faults).map(step).collect() }
    }

    fn has(plan: &Plan, number: usize) -> bool {
        plan.steps.iter().any(|step| step.faults.contains(&Fault::Kill(number)))
    }

    #[tokio::test]
    async fn the_culprits_are_left() {
        for culprits in [vec![7], vec![3, 17], vec![0, 19], vec![4, 5, 6]] {
            let mut runs = 0;
            let left = shrink(plan(20), async |plan: &Plan| {
                runs += 1;
                culprits.iter().all(|culprit| has(plan, *culprit))
            })
            .await;
            assert_eq!(left.faults(), culprits.len(), "{left:?}");
            assert!(culprits.iter().all(|culprit| has(&left, *culprit)));
            assert!(runs < 60, "{runs} runs for {culprits:?}");
        }
    }

    #[tokio::test]
    async fn a_plan_whose_faults_all_matter_stays() {
        let left = shrink(plan(5), async |plan: &Plan| plan.faults() == 5).await;
        assert_eq!(left, plan(5));
    }
}
