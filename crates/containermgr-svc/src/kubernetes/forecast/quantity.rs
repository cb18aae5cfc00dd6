//! The resources that pods request. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, SubAssign};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

type Quantities = BTreeMap<String, Quantity>;

/// Amounts of resources. Amounts of an overcommitted node do not become negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::kubernetes) struct Requests {
    /// Thousandths of a CPU.
    pub(super) cpu: u64,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// The number of pods.
    pub(super) pods: u64,
}

impl Requests {
    /// What a pod requests; nothing if it has ended.
    pub(super) fn of(pod: &Pod) -> Self {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let Some(spec) =
            pod.spec.as_ref().filter(|_| !matches!(phase, Some("Succeeded" | "Failed")))
        else {
            return Self::default();
        };
        // Sidecars run with the containers, and with the init containers after them.
        let (mut sidecars, mut highest) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let requested = requested(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars += requested;
                highest = highest.max(sidecars);
            } else {
                let mut with_sidecars = sidecars;
                with_sidecars += requested;
                highest = highest.max(with_sidecars);
            }
        }
        let mut containers = sidecars;
        for container in &spec.containers {
            containers += requested(container);
        }
        let mut sum = highest.max(containers);
        // Requests of the pod as a whole take the place of those of its containers.
        if let Some(whole) = requests(spec.resources.as_ref()) {
            sum.cpu = whole.get("cpu").map_or(sum.cpu, thousandths);
            sum.memory = whole.get("memory").map_or(sum.memory, units);
        }
        sum += amounts(spec.overhead.as_ref());
        Self { pods: 1, ..sum }
    }

    /// What a node has for pods. Without the number of pods, there is no limit to it.
    pub(super) fn allocatable(quantities: Option<&Quantities>) -> Self {
        let pods = quantities.and_then(|quantities| quantities.get("pods"));
        Self { pods: pods.map_or(u64::MAX, units), ..amounts(quantities) }
    }

    /// Whether these fit into an amount.
    pub(super) fn fit_into(self, free: Self) -> bool {
        self.cpu <= free.cpu && self.memory <= free.memory && self.pods <= free.pods
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            pods: self.pods.max(other.pods),
        }
    }
}

impl AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.pods = self.pods.saturating_add(other.pods);
    }
}

impl SubAssign for Requests {
    fn sub_assign(&mut self, other: Self) {
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
        self.pods = self.pods.saturating_sub(other.pods);
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m CPU and {} MiB of memory", self.cpu, self.memory.div_ceil(1 << 20))
    }
}

fn requested(container: &Container) -> Requests {
    amounts(requests(container.resources.as_ref()))
}

fn requests(resources: Option<&ResourceRequirements>) -> Option<&Quantities> {
    resources?.requests.as_ref()
}

fn amounts(quantities: Option<&Quantities>) -> Requests {
    let quantity = |name| quantities.and_then(|quantities| quantities.get(name));
    Requests {
        cpu: quantity("cpu").map_or(0, thousandths),
        memory: quantity("memory").map_or(0, units),
        pods: 0,
    }
}

fn thousandths(quantity: &Quantity) -> u64 {
    nanos(&quantity.0).map_or(0, |nanos| saturated(nanos.div_ceil(1_000_000)))
}

fn units(quantity: &Quantity) -> u64 {
    nanos(&quantity.0).map_or(0, |nanos| saturated(nanos.div_ceil(1_000_000_000)))
}

fn saturated(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}

/// A quantity such as `1500m`, `1.5Gi` or `1e3`, in billionths; `None` if it is invalid or too large.
fn nanos(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1_u128 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?),
    };
    let places = i32::try_from(fraction.len()).ok()?;
    let exponent = exponent.checked_add(9)?.checked_sub(places)?;
    let scale = 10_u128.checked_pow(exponent.unsigned_abs())?;
    let amount = digits.checked_mul(factor)?;
    if exponent < 0 { Some(amount.div_ceil(scale)) } else { amount.checked_mul(scale) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_server_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.5", 500_000_000),
            (".5", 500_000_000),
            ("2.", 2_000_000_000),
            ("100m", 100_000_000),
            ("1n", 1),
            ("1.5n", 2),
            ("1e3", 1_000_000_000_000),
            ("1E-3", 1_000_000),
            ("1Ki", 1_024_000_000_000),
            ("1.5Gi", 1_610_612_736_000_000_000),
            ("1E", 1_000_000_000_000_000_000_000_000_000),
        ] {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
        for text in ["", "m", "-1", "1KiB", "1 Gi", "1.2.3", "1e99", "1e"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    fn of(spec: &Value) -> Requests {
        Requests::of(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    fn container(cpu: &str, memory: &str, restart: Option<&str>) -> Value {
        json!({"name": "c", "restartPolicy": restart,
               "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn requests_of_containers_are_added_and_of_init_containers_compared() {
        let two = of(
            &json!({"containers": [container("100m", "1Mi", None), container("1", "1Mi", None)]}),
        );
        assert_eq!(two, Requests { cpu: 1100, memory: 2 << 20, pods: 1 });
        assert_eq!(two.to_string(), "1100m CPU and 2 MiB of memory");
        let init = of(&json!({
            "initContainers": [container("100m", "8Mi", Some("Always")), container("2", "1Mi", None)],
            "containers": [container("1", "1Mi", None)],
        }));
        assert_eq!(init, Requests { cpu: 2100, memory: 9 << 20, pods: 1 });
        let whole = of(&json!({
            "containers": [container("1", "1Mi", None)],
            "resources": {"requests": {"cpu": "3"}},
            "overhead": {"cpu": "10m"},
        }));
        assert_eq!(whole, Requests { cpu: 3010, memory: 1 << 20, pods: 1 });
        assert_eq!(
            of(&json!({"containers": [{"name": "c"}]})),
            Requests { pods: 1, ..Requests::default() }
        );
    }

    #[test]
    fn finished_pods_request_nothing() {
        let pod = json!({"metadata": {}, "spec": {"containers": [container("1", "1Mi", None)]},
                         "status": {"phase": "Succeeded"}});
        assert_eq!(Requests::of(&serde_json::from_value(pod).unwrap()), Requests::default());
    }

    #[test]
    fn requests_fit_if_each_resource_does() {
        let free = Requests { cpu: 1000, memory: 100, pods: 1 };
        assert!(free.fit_into(free));
        for more in [
            Requests { cpu: 1001, ..free },
            Requests { memory: 101, ..free },
            Requests { pods: 2, ..free },
        ] {
            assert!(!more.fit_into(free), "{more:?}");
        }
        let quantities: Value = json!({"cpu": "4", "memory": "1Ki"});
        let node = Requests::allocatable(Some(&serde_json::from_value(quantities).unwrap()));
        assert_eq!(node, Requests { cpu: 4000, memory: 1024, pods: u64::MAX });
    }
}
