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
    /// No host before this one is pending, except postponed ones.
    pending_from: usize,
    /// Pending hosts whose turns come again after the others, in that order.
    postponed: Vec<usize>,
    /// Pending hosts that were postponed too often for a further turn.
    exhausted: Vec<usize>,
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
        let mut new = Self {
            all,
            unhealthy,
            counts: Counts::default(),
            pending_from: 0,
            postponed: Vec::new(),
            exhausted: Vec::new(),
        };
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

    /// Notes that the host at `index` is pending again: its turn comes after the others, or not any more.
    pub(crate) fn postpone(&mut self, index: usize, is_exhausted: bool) {
        self.set(index, Step::Pending);
        let queue = if is_exhausted { &mut self.exhausted } else { &mut self.postponed };
        queue.push(index);
        self.advance();
    }

    /// The hosts that were postponed too often for a further turn.
    pub(crate) fn exhausted(&self) -> &[usize] {
        &self.exhausted
    }

    /// Notes that the host at `index` is at this step.
    pub(crate) fn set(&mut self, index: usize, step: Step) {
        self.postponed.retain(|other| *other != index);
        self.exhausted.retain(|other| *other != index);
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

    /// The first pending host; postponed ones come after the others.
    pub(crate) fn turn(&self) -> Option<usize> {
        let first = (self.pending_from < self.all.len()).then_some(self.pending_from);
        first.or_else(|| self.postponed.first().copied())
    }

    /// Whether the host at `index` is healthy, and none that is has been done before.
    pub(crate) fn is_canary(&self, index: usize) -> bool {
        index >= self.unhealthy && self.counts.healthy_done == 0
    }

    fn advance(&mut self) {
        let is_first = |index: &usize| {
            self.all[*index] == Step::Pending
                && !self.postponed.contains(index)
                && !self.exhausted.contains(index)
        };
        self.pending_from =
            (self.pending_from..self.all.len()).find(is_first).unwrap_or(self.all.len());
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

    const ALL: [Step; 14] = [
        Step::Pending,
        Step::Probe,
        Step::Cordon,
        Step::Drain,
        Step::Apply,
        Step::Reboot,
        Step::Verify,
        Step::Settle,
        Step::Ready,
        Step::Uncordon,
        Step::Done,
        Step::Skipped,
        Step::Failed,
        Step::Unknown,
    ];

    #[test]
    fn postponed_hosts_come_after_the_others_and_exhausted_ones_not_any_more() {
        let mut steps = Steps::new([Step::Pending; 3], 0);
        steps.set(0, Step::Drain);
        steps.postpone(0, false);
        assert_eq!(steps.turn(), Some(1));
        steps.set(1, Step::Drain);
        assert_eq!(steps.turn(), Some(2));
        steps.postpone(1, false);
        steps.set(2, Step::Done);
        assert_eq!(steps.turn(), Some(0));
        steps.set(0, Step::Drain);
        assert_eq!(steps.turn(), Some(1));
        steps.postpone(0, true);
        steps.set(1, Step::Done);
        assert_eq!((steps.turn(), steps.exhausted()), (None, &[0][..]));
        steps.postpone(0, false);
        assert_eq!((steps.turn(), steps.exhausted()), (Some(0), &[][..]));
    }

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
