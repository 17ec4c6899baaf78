//! The usual `process_*` metrics, read from `/proc/self` when somebody asks. Where that cannot be read
//! (another system, a sandbox) they are left out.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::clock::Timestamp;

/// Asks the system about this process.
#[derive(Debug)]
pub(super) struct Process {
    /// When it started.
    pub(super) started: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut row = |name, help, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
            }
            None => Ok(()),
        };
        let started = Some(self.started.as_seconds_f64());
        row("process_start_time_seconds", "When the process started", started)?;
        row("process_resident_memory_bytes", "Resident memory", resident_bytes())?;
        row("process_open_fds", "Open file descriptors", open_files())?;
        row("process_max_fds", "Most file descriptors that may be open", max_files())
    }
}

/// `VmRSS:     1234 kB` (proc_pid_status(5)).
#[allow(clippy::disallowed_methods)] // procfs, not a file of the user
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

#[allow(clippy::disallowed_methods)] // procfs, not a file of the user
fn open_files() -> Option<f64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.count().saturating_sub(1) as f64) // one of them is the directory itself
}

fn max_files() -> Option<f64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map(|most| most as f64)
}
