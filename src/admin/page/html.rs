//! Pieces of HTML: escaped text, tables, chips, spans of time. Knows nothing of what is shown.

use crate::clock::Timestamp;
use crate::observe::line::time_text;

/// How something is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// Green.
    Good,
    /// Amber.
    Warn,
    /// Red.
    Bad,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A document under construction.
#[derive(Default)]
pub(in crate::admin) struct Html(String);

impl Html {
    /// Our own markup, as it is.
    pub(in crate::admin) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin, escaped for elements and quoted attributes.
    pub(in crate::admin) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Text to be read letter by letter, or a dash.
    pub(super) fn code(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.raw("<code>").text(text).raw("</code>"),
            None => self.raw("–"),
        }
    }

    /// A word with its colour; the word alone says it all.
    pub(super) fn chip(&mut self, tone: Tone, word: &str) -> &mut Self {
        self.raw("<span class=\"chip ").raw(tone.class()).raw("\">").text(word).raw("</span>")
    }

    /// A cell with a time in words, the exact one as its title.
    pub(super) fn time(&mut self, at: Option<Timestamp>, words: impl Fn(Timestamp) -> String) -> &mut Self {
        match at {
            Some(at) => self.raw("<td title=\"").text(&time_text(at)).raw("\">").text(&words(at)).raw("</td>"),
            None => self.raw("<td>–</td>"),
        }
    }

    /// Begins a section with a table, or says that there are no rows; true when rows are to follow.
    pub(super) fn table(&mut self, title: &str, columns: &[&str], empty: bool, no_rows: &str) -> bool {
        self.raw("<section><h2>").text(title).raw("</h2>");
        if empty {
            self.raw("<p class=\"empty\">").text(no_rows).raw("</p></section>");
            return false;
        }
        self.raw("<div class=\"scroll\"><table><thead><tr>");
        for column in columns {
            self.raw("<th scope=\"col\">").text(column).raw("</th>");
        }
        self.raw("</tr></thead><tbody>");
        true
    }

    /// Ends a table that has rows.
    pub(super) fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table></div></section>")
    }

    pub(in crate::admin) fn into_string(self) -> String {
        self.0
    }
}

/// `3 min ago`
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.seconds - at.seconds {
        ..=0 => "just now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

/// `in 12 d`, `2 h ago`
pub(super) fn until(at: Timestamp, now: Timestamp) -> String {
    match at.seconds - now.seconds {
        seconds @ 1.. => format!("in {}", span(seconds)),
        _ => ago(at, now),
    }
}

/// The largest unit that fits, with a second one while it matters.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1..=6, _, _) => format!("{days} d {} h", hours % 24),
        _ => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_stays_text() {
        let mut html = Html::default();
        html.text("<img src=x onerror='a()'>&\"");
        assert_eq!(html.into_string(), "&lt;img src=x onerror=&#39;a()&#39;&gt;&amp;&quot;");
    }

    #[test]
    fn spans_read_well() {
        let spans = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 604_799, 604_800].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "6 d 23 h", "7 d"]);
        let at = Timestamp::from_seconds;
        assert_eq!(
            [ago(at(10), at(10)), ago(at(10), at(70)), until(at(70), at(10)), until(at(10), at(70))],
            ["just now", "1 min ago", "in 1 min", "1 min ago"]
        );
    }
}
