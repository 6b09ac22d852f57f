//! The least rate at which a body must come: a source that drips would hold its fetcher for as long as it
//! pleases.

use super::failure::{Failure, Result};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub struct LeastRate {
    pub bytes_per_second: u64,
    /// Over what it is measured, from the body's beginning on.
    pub window: Duration,
}

/// Of one body.
pub struct Pace {
    rate: LeastRate,
    begin: Instant,
    bytes: u64,
}

impl Pace {
    pub fn new(rate: LeastRate) -> Self {
        Self { rate, begin: Instant::now(), bytes: 0 }
    }

    /// Counts what has come.
    pub fn count(&mut self, what: &str, bytes: usize) -> Result<()> {
        self.count_at(what, bytes, Instant::now())
    }

    fn count_at(&mut self, what: &str, bytes: usize, now: Instant) -> Result<()> {
        self.bytes += bytes as u64;
        let passed = now - self.begin;
        if passed < self.rate.window {
            return Ok(());
        }
        let came = self.bytes as f64 / passed.as_secs_f64();
        let least = self.rate.bytes_per_second;
        if came < least as f64 {
            let text =
                format!("{what}: sends {came:.0} bytes a second, at least {least} must come");
            return Err(Failure::source(text));
        }
        *self = Self { begin: now, bytes: 0, ..*self };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        let window = Duration::from_secs(10);
        Pace::new(LeastRate { bytes_per_second: 100, window })
    }

    fn count(pace: &mut Pace, start: Instant, second: u64, bytes: usize) -> bool {
        pace.count_at("x", bytes, start + Duration::from_secs(second)).is_ok()
    }

    #[test]
    fn a_drip_fails_after_its_window() {
        let mut pace = pace();
        let start = pace.begin;
        for second in 1..10 {
            assert!(count(&mut pace, start, second, 1));
        }
        assert!(!count(&mut pace, start, 10, 1));
    }

    #[test]
    fn a_fast_beginning_does_not_pay_for_a_drip() {
        let mut pace = pace();
        let start = pace.begin;
        assert!(count(&mut pace, start, 10, 1_000_000));
        assert!(count(&mut pace, start, 19, 10));
        assert!(!count(&mut pace, start, 20, 10));
    }

    #[test]
    fn the_least_rate_is_enough() {
        let mut pace = pace();
        let start = pace.begin;
        for second in 1..100 {
            assert!(count(&mut pace, start, second, 100), "{second}");
        }
    }
}
