//! Tokens that refresh themselves: the table of usable ones, which requests look into, and the tasks that fill it.
//! Requests never make a token call. Callers: `proxy` (looking up, waiting), `admin` and `cli` (showing, steering).
