//! A histogram of durations made of atomics alone (the library's takes a lock for every observation).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Counts durations in fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in microseconds, inclusive, ascending.
    bounds: &'static [u64],
    /// One cell for each bound and one for what is longer.
    cells: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in microseconds.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, cells: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), nanoseconds: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let cell = self.bounds.partition_point(|bound| bound.saturating_mul(1000) < nanoseconds);
        self.cells[cell].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let cells = self.cells.iter().map(|cell| cell.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(cells).collect();
        let count = buckets.iter().map(|(_, count)| count).sum(); // so that it equals the last bucket
        let sum = self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
