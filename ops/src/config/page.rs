//! The text of a configuration file as a page: where a byte stands, and the line around it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::fault::{Exit, Fault};

/// A file's name and text.
#[derive(Clone, Debug)]
pub(super) struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    /// A page with that text.
    pub(super) fn new(path: &Path, text: String) -> Page {
        Page { path: path.to_owned(), text }
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column (both from 1, columns in characters) of a byte offset.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// A refusal that points at `span` (bytes).
    pub(super) fn fault(&self, span: Range<usize>, what: &str) -> Fault {
        let (line, column) = self.position(span.start);
        let mut fault = Fault::new(Exit::Config, format!("{}:{line}:{column}: {what}", self.path.display()));
        fault.snippet = Some(self.snippet(span));
        fault
    }

    fn snippet(&self, span: Range<usize>) -> String {
        let (line, column) = self.position(span.start);
        let text = self.text.lines().nth(line - 1).unwrap_or("");
        let rest = text.chars().count().saturating_sub(column - 1).max(1);
        let marked =
            self.text.get(span).map_or(1, |marked| marked.lines().next().unwrap_or("").chars().count());
        let width = line.to_string().len();
        format!(
            "  {:width$} |\n  {line} | {text}\n  {:width$} | {}{}",
            "",
            "",
            " ".repeat(column - 1),
            "^".repeat(marked.clamp(1, rest))
        )
    }
}
