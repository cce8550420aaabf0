//! What a person sees: a table that is redrawn while the mesh starts (on a terminal), one line for each thing that happens.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, Table, presets};

/// Rows that fit any terminal.
const MAX_ROWS: usize = 18;

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
            block.push_str(&unwrapped(&render(&self.last)));
        }
        let _ = out.write_all(block.as_bytes()).and_then(|()| out.flush());
    }

    /// Redraws the table if it has changed.
    pub(crate) fn draw(&mut self, rows: &[Row]) {
        let rows = most_wanted(rows);
        if !self.terminal || (rows == self.last && self.drawn > 0) {
            return;
        }
        let table = render(&rows);
        let block = format!("{}{}", self.erase(), unwrapped(&table));
        self.drawn = table.lines().count();
        self.last = rows;
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

/// What is redrawn must fit the screen: of a large mesh, those rows that somebody waits for come first.
fn most_wanted(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    if rows.len() > MAX_ROWS {
        rows.sort_by_key(|row| row.status == "Running");
        rows.truncate(MAX_ROWS);
    }
    rows
}

/// On a narrow terminal a line is cut off rather than continued: the number of lines has to hold.
fn unwrapped(text: &str) -> String {
    format!("\x1b[?7l{text}\x1b[?7h")
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
        table.add_row(cells.map(Cell::new));
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

    fn row(status: &str) -> Row {
        Row {
            name: "web-1".into(),
            namespace: "default".into(),
            ready: "1/2".into(),
            proxy: "SYNCED".into(),
            status: status.into(),
            restarts: 3,
            address: "127.64.1.0".into(),
        }
    }

    #[test]
    fn the_table_is_plain_text() {
        let text = render(&[row("Running")]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.starts_with("POD ") && text.contains("1/2") && text.ends_with('\n'),
            "{text}"
        );
    }

    #[test]
    fn of_a_large_mesh_the_unready_are_shown() {
        let mut rows = vec![row("Running"); 40];
        rows.push(row("Starting"));
        let shown = most_wanted(&rows);
        assert_eq!(shown.len(), MAX_ROWS);
        assert_eq!(shown[0].status, "Starting");
    }
}
