//! Which changed keys a running process cannot follow.

use crate::config::model::Config;

/// The keys that differ and need a restart, as they are written in `proxy.toml`.
pub(super) fn needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let own_ports = |config: &Config| -> Vec<_> {
        let mut ports: Vec<_> = config.routes.iter().filter_map(|route| route.listen.clone()).collect();
        ports.sort_by_key(|port| format!("{port:?}"));
        ports
    };
    let keeps = |config: &Config| config.credentials.iter().any(|credential| credential.oauth.is_some());
    // A store is opened once, by the process that has the first credential with tokens.
    let state = old.state != new.state || (keeps(new) && !keeps(old));
    let differs = [
        (old.listen != new.listen, "listen"),
        (old.threads != new.threads, "runtime.threads"),
        (old.log.format != new.log.format, "log.format"),
        (old.log.access != new.log.access, "log.access"),
        (old.secrets.dir != new.secrets.dir, "secrets.dir"),
        (old.secrets.poll != new.secrets.poll, "secrets.poll"),
        (old.secrets.events != new.secrets.events, "secrets.watch"),
        (old.limits.connections != new.limits.connections, "limits.connections"),
        (old.limits.head != new.limits.head, "limits.head"),
        (old.limits.headers != new.limits.headers, "limits.headers"),
        (old.intercept != new.intercept, "intercept"),
        (state, "state"),
        (old.playground != new.playground, "playground.listen"),
        (own_ports(old) != own_ports(new), "route.listen"),
    ];
    differs.into_iter().filter(|(changed, _)| *changed).map(|(_, key)| key).collect()
}
