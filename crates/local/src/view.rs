//! What a person sees: a table that is redrawn while the mesh starts (on a terminal), one line for each thing that happens.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, Table, presets};

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) ready: String,
    pub(crate) proxy: String,
    pub(crate) status: String,
    pub(crate) restarts: u32,
    pub(crate) address: String,
}

/// Writes to standard output.
#[derive(Debug)]
pub(crate) struct View {
    terminal: bool,
    /// Lines of the table that stands at the end of the output.
    drawn: usize,
    last: Vec<Row>,
}

impl View {
    pub(crate) fn new(verbose: bool) -> Self {
        // With logs flowing by, a table would be torn apart.
        let terminal = std::io::stdout().is_terminal() && !verbose;
        View {
            terminal,
            drawn: 0,
            last: Vec::new(),
        }
    }

    /// Shows one line above the table.
    pub(crate) fn say(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let mut block = self.erase();
        block.push_str(text);
        block.push('\n');
        if self.drawn > 0 {
            block.push_str(&render(&self.last));
        }
        let _ = out.write_all(block.as_bytes()).and_then(|()| out.flush());
    }

    /// Redraws the table if it has changed.
    pub(crate) fn draw(&mut self, rows: &[Row]) {
        if !self.terminal || (rows == self.last && self.drawn > 0) {
            return;
        }
        let table = render(rows);
        let block = format!("{}{table}", self.erase());
        self.drawn = table.lines().count();
        self.last = rows.to_vec();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(block.as_bytes()).and_then(|()| out.flush());
    }

    /// Lets the table stand as it is; what follows comes below.
    pub(crate) fn release(&mut self) {
        self.drawn = 0;
        self.terminal = false;
    }

    pub(crate) fn shows_table(&self) -> bool {
        self.terminal
    }

    /// Cursor to the table's first line, and everything from there cleared.
    fn erase(&self) -> String {
        if self.drawn == 0 {
            String::new()
        } else {
            format!("\x1b[{}F\x1b[J", self.drawn)
        }
    }
}

/// The table as text, each line complete.
fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["POD", "NAMESPACE", "READY", "PROXY", "STATUS", "RESTARTS", "ADDRESS"]);
    for row in rows {
        let restarts = row.restarts.to_string();
        let cells = [
            &row.name,
            &row.namespace,
            &row.ready,
            &row.proxy,
            &row.status,
            &restarts,
            &row.address,
        ];
        table.add_row(cells.map(|text| Cell::new(text)));
    }
    // The first column has nothing to keep its distance from.
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_plain_text() {
        let row = Row {
            name: "web-1".into(),
            namespace: "default".into(),
            ready: "1/2".into(),
            proxy: "SYNCED".into(),
            status: "Running".into(),
            restarts: 3,
            address: "127.64.1.0".into(),
        };
        let text = render(&[row]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.lines().nth(1).unwrap().contains("1/2") && text.ends_with('\n'),
            "{text}"
        );
    }
}
