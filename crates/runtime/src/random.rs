//! Random choices, identifiers and secrets: the one place that makes them.
//!
//! Secrets come from the operating system's generator. Choices and identifiers come from a generator of their thread,
//! which that one seeds: a system call for each would cost more than the rest of making it. With [`seeded`] a thread takes
//! them from a generator with a given seed: a test or simulation on one thread then has the same ones each time.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::Duration;

use rand::rand_core::UnwrapErr;
use rand::rngs::{StdRng, SysRng};
use rand::seq::SliceRandom as _;
use rand::{Rng, RngExt as _, SeedableRng as _};
use uuid::Uuid;

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// The seed of this thread's generator holds until this is dropped.
#[derive(Debug)]
#[must_use = "the generator is seeded until this is dropped"]
pub struct Seeded {
    before: Option<StdRng>,
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

/// Has this thread take choices and identifiers from a generator with this seed.
pub fn seeded(seed: u64) -> Seeded {
    let before = SEEDED.replace(Some(StdRng::seed_from_u64(seed)));
    Seeded { before, thread: PhantomData }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(self.before.take());
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
fn draw<T>(draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(generator) => draw(generator),
        None => draw(&mut rand::rng()),
    })
}

/// Random bytes that need not be secret.
pub fn bytes<const N: usize>() -> [u8; N] {
    draw(|generator| filled(generator))
}

/// Bytes taken at once: one by one, each would be a system call.
fn filled<const N: usize>(generator: &mut dyn Rng) -> [u8; N] {
    let mut bytes = [0; N];
    generator.fill_bytes(&mut bytes);
    bytes
}

/// A random identifier (UUID version 4).
pub fn uuid() -> Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

/// A number from 0 to below 1.
pub fn fraction() -> f64 {
    draw(|generator| generator.random())
}

/// A pause of 50–100 % of `longest`: those that start to wait together do not end together.
pub fn jitter(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + fraction() / 2.0)
}

/// Puts `items` in a random order.
pub fn shuffle<T>(items: &mut [T]) {
    draw(|generator| items.shuffle(generator));
}

/// Bytes of a secret: a key, a nonce, a token. They come from the operating system in any case.
pub fn secret<const N: usize>() -> [u8; N] {
    filled(&mut UnwrapErr(SysRng))
}

/// A password of `length` letters of this alphabet, from the operating system in any case.
pub fn password(alphabet: &[u8], length: usize) -> String {
    let mut generator = UnwrapErr(SysRng);
    let letter = |_| char::from(alphabet[generator.random_range(..alphabet.len())]);
    (0..length).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some of each.
    fn taken() -> (Uuid, [u8; 8], Duration, Vec<u32>) {
        let mut order: Vec<_> = (0..100).collect();
        shuffle(&mut order);
        (uuid(), bytes(), jitter(Duration::from_hours(1)), order)
    }

    #[test]
    fn the_same_seed_gives_the_same_choices_and_another_seed_others() {
        let with = |seed| {
            let _seeded = seeded(seed);
            (taken(), taken())
        };
        assert_eq!(with(7), with(7));
        assert_ne!(with(7), with(8));
        let (first, second) = with(7);
        assert_ne!(first, second);
    }

    #[test]
    fn without_a_seed_and_after_it_choices_differ() {
        let seeded = seeded(7);
        let with_seed = taken();
        drop(seeded);
        let without = taken();
        assert_ne!(without, taken());
        assert_ne!(without, with_seed);
    }

    #[test]
    fn a_seed_holds_for_its_own_thread_and_may_be_nested() {
        let _outer = seeded(1);
        let first = {
            let _inner = seeded(2);
            uuid()
        };
        let after = uuid();
        let _again = seeded(1);
        assert_eq!(uuid(), after, "the inner seed took nothing from the outer generator");
        let elsewhere = std::thread::scope(|scope| scope.spawn(uuid).join().unwrap());
        assert_ne!(elsewhere, after);
        let _inner = seeded(2);
        assert_eq!(uuid(), first);
    }

    #[test]
    fn secrets_have_no_seed() {
        let with_seed = || {
            let _seeded = seeded(7);
            (secret::<16>(), password(b"abcdefgh", 20))
        };
        let (first, second) = (with_seed(), with_seed());
        assert!(first.0 != second.0 && first.1 != second.1, "{first:?}");
        assert!(first.1.len() == 20 && first.1.bytes().all(|b| (b'a'..=b'h').contains(&b)));
    }

    #[test]
    fn identifiers_and_fractions_have_their_form() {
        let id = uuid();
        assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
        let hour = Duration::from_hours(1);
        assert!((0..100).all(|_| (hour / 2..hour).contains(&jitter(hour))));
        assert!((0..100).all(|_| (0.0..1.0).contains(&fraction())));
    }
}
