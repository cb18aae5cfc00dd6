//! The steps of all hosts of an operation, and how many hosts are where. Pure: a change of one host costs the same however
//! many there are.

use model::Step;

/// See the module.
#[derive(Debug, Clone)]
pub struct Steps {
    all: Vec<Step>,
    /// So many hosts, the first ones, were unhealthy at the start.
    unhealthy: usize,
    counts: Counts,
    /// No host before this one is pending.
    pending_from: usize,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    under_way: usize,
    failed: usize,
    /// Pending or skipped.
    left: usize,
    /// Done, and not among the unhealthy ones.
    healthy_done: usize,
}

impl Steps {
    /// The steps of hosts, of which the first `unhealthy` ones were unhealthy at the start.
    pub fn new(steps: impl IntoIterator<Item = Step>, unhealthy: usize) -> Self {
        let all: Vec<_> = steps.into_iter().collect();
        let mut new = Self { all, unhealthy, counts: Counts::default(), pending_from: 0 };
        for index in 0..new.all.len() {
            new.count(index, |count| *count += 1);
        }
        new.advance();
        new
    }

    /// All of them, in the order of the hosts.
    pub fn all(&self) -> &[Step] {
        &self.all
    }

    /// Notes that the host at `index` is at this step.
    pub(crate) fn set(&mut self, index: usize, step: Step) {
        self.count(index, |count| *count -= 1);
        self.all[index] = step;
        self.count(index, |count| *count += 1);
        if step == Step::Pending {
            self.pending_from = self.pending_from.min(index);
        }
        self.advance();
    }

    /// How many hosts are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.counts.under_way
    }

    /// How many hosts have failed.
    pub(crate) fn failed(&self) -> usize {
        self.counts.failed
    }

    /// Whether hosts are pending, or were skipped.
    pub(crate) fn has_left(&self) -> bool {
        self.counts.left > 0
    }

    /// The first pending host.
    pub(crate) fn turn(&self) -> Option<usize> {
        (self.pending_from < self.all.len()).then_some(self.pending_from)
    }

    /// Whether the host at `index` is healthy, and none that is has been done before.
    pub(crate) fn is_canary(&self, index: usize) -> bool {
        index >= self.unhealthy && self.counts.healthy_done == 0
    }

    fn advance(&mut self) {
        let pending = |from: usize| self.all[from..].iter().position(|step| *step == Step::Pending);
        let passed = pending(self.pending_from).unwrap_or(self.all.len() - self.pending_from);
        self.pending_from += passed;
    }

    fn count(&mut self, index: usize, change: impl Fn(&mut usize)) {
        let counts = &mut self.counts;
        match self.all[index] {
            Step::Pending | Step::Skipped => change(&mut counts.left),
            Step::Failed => change(&mut counts.failed),
            Step::Done if index >= self.unhealthy => change(&mut counts.healthy_done),
            Step::Done => {}
            step if step.is_under_way() => change(&mut counts.under_way),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Step; 10] = [
        Step::Pending,
        Step::Probe,
        Step::Apply,
        Step::Reboot,
        Step::Verify,
        Step::Settle,
        Step::Done,
        Step::Skipped,
        Step::Failed,
        Step::Unknown,
    ];

    proptest! {
        #[test]
        fn counts_are_those_of_the_steps_after_any_changes(
            start in prop::collection::vec(prop::sample::select(&ALL[..]), 1..12),
            changes in prop::collection::vec((0usize..12, prop::sample::select(&ALL[..])), 0..40),
            unhealthy in 0usize..4,
        ) {
            let mut steps = Steps::new(start.clone(), unhealthy);
            for (index, step) in changes {
                steps.set(index % start.len(), step);
            }
            let all = steps.all().to_vec();
            let count = |wanted: fn(Step) -> bool| all.iter().filter(|step| wanted(**step)).count();
            prop_assert_eq!(steps.under_way(), count(Step::is_under_way));
            prop_assert_eq!(steps.failed(), count(|step| step == Step::Failed));
            let left = count(|step| matches!(step, Step::Pending | Step::Skipped));
            prop_assert_eq!(steps.has_left(), left > 0);
            prop_assert_eq!(steps.turn(), all.iter().position(|step| *step == Step::Pending));
            let is_done = all.iter().skip(unhealthy).any(|step| *step == Step::Done);
            for index in 0..all.len() {
                prop_assert_eq!(steps.is_canary(index), index >= unhealthy && !is_done);
            }
        }
    }
}
