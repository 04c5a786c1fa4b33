//! What people read: texts, names with values, and tables, laid out for where they are read.
//!
//! ```text
//! show::… ─► Page (parts) ─► Look (wide? which columns? how broad?) ─► text
//! ```
//! Off a terminal nothing is shortened: whoever reads it there may be a program.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};
use unicode_width::UnicodeWidthStr;

use crate::fail::Failure;

/// Between two columns.
const GAP: usize = 2;
/// What is left of a column that gives way.
const CUT_MIN: usize = 8;
/// Words in a narrower column are no longer read.
const WRAP_MIN: usize = 20;

/// How a page is looked at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// With the columns that are for `-o wide`, and nothing shortened.
    pub wide: bool,
    pub no_headers: bool,
    /// Only these, in this order; all when there is none.
    pub columns: Vec<String>,
    /// Of the terminal; none elsewhere.
    pub width: Option<usize>,
}

/// Parts with an empty line between them.
#[derive(Clone, Debug, Default)]
pub struct Page(Vec<Part>);

#[derive(Clone, Debug)]
struct Part {
    /// In the line above it.
    title: String,
    body: Body,
    /// In the line below it.
    foot: String,
}

#[derive(Clone, Debug)]
enum Body {
    Text(String),
    /// Lines whose words go over several where there is no room.
    Sentences(String),
    Pairs(Vec<(String, String)>),
    Table(Table),
}

#[derive(Clone, Debug)]
struct Table {
    /// Instead of a table without rows.
    instead: String,
    head: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column's name, and what happens to it where there is not room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Always whole: ids and names are copied.
    Whole,
    /// Ends in `…`, or is left out.
    Cut,
    /// Whole, or left out.
    Spare,
    /// Its words go over several lines.
    Wrap,
    /// Only there when asked for.
    Wide,
}

impl From<&'static str> for Column {
    fn from(name: &'static str) -> Column {
        Column {
            name,
            kind: Kind::Whole,
        }
    }
}

/// A column that stays whole.
pub fn col(name: &'static str) -> Column {
    Column::from(name)
}

/// A column that is shortened where there is no room.
pub fn cut(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Cut,
    }
}

/// A column that stays whole, and can be missed where there is no room.
pub fn spare(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Spare,
    }
}

/// A column of sentences.
pub fn wrap(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Wrap,
    }
}

/// A column for `-o wide`.
pub fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Wide,
    }
}

/// Columns that line up, without lines between them.
pub fn table<C: Into<Column>>(
    head: impl IntoIterator<Item = C>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Page {
    Page::of(Body::Table(Table {
        instead: String::new(),
        head: head.into_iter().map(Into::into).collect(),
        rows: rows.into_iter().collect(),
    }))
}

/// Names on the left, values on the right; what has no value is left out.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Page {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    Page::of(Body::Pairs(
        pairs.map(|(name, value)| (name.to_owned(), value)).collect(),
    ))
}

impl From<String> for Page {
    fn from(text: String) -> Page {
        match text.is_empty() {
            true => Page::default(),
            false => Page::of(Body::Text(text)),
        }
    }
}

impl From<&str> for Page {
    fn from(text: &str) -> Page {
        Page::from(text.to_owned())
    }
}

impl Page {
    fn of(body: Body) -> Page {
        Page(vec![Part {
            title: String::new(),
            body,
            foot: String::new(),
        }])
    }

    /// Lines whose words go over several where there is no room, each behind its own indent.
    pub fn sentences(text: impl Into<String>) -> Page {
        Page::of(Body::Sentences(text.into()))
    }

    /// With another part below it.
    pub fn and(mut self, below: impl Into<Page>) -> Page {
        self.0.extend(below.into().0);
        self
    }

    /// With a line right above its first part.
    pub fn under(mut self, title: impl Into<String>) -> Page {
        if let Some(first) = self.0.first_mut() {
            first.title = title.into();
        }
        self
    }

    /// With a line right below its last part.
    pub fn over(mut self, foot: impl Into<String>) -> Page {
        if let Some(last) = self.0.last_mut() {
            last.foot = foot.into();
        }
        self
    }

    /// With words in place of a table without rows.
    pub fn or(mut self, instead: &str) -> Page {
        if let Some(Body::Table(table)) = self.0.first_mut().map(|first| &mut first.body) {
            table.instead = instead.to_owned();
        }
        self
    }

    /// As a file shows it.
    pub fn plain(&self) -> String {
        self.laid_out(&Look::default())
    }

    /// As it was asked for. A column that is nowhere is said to be none.
    pub fn shown(&self, look: &Look) -> Result<String, Failure> {
        if look.columns.is_empty() {
            return Ok(self.laid_out(look));
        }
        let wanted = |table: &&Table| look.columns.iter().all(|name| table.column(name).is_some());
        match self.tables().find(wanted) {
            Some(table) => Ok(table.of(&look.columns).text(&Look {
                wide: true,
                columns: Vec::new(),
                ..look.clone()
            })),
            None => Err(self.no_such_column(&look.columns)),
        }
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.0.iter().filter_map(|part| match &part.body {
            Body::Table(table) => Some(table),
            Body::Text(_) | Body::Sentences(_) | Body::Pairs(_) => None,
        })
    }

    fn no_such_column(&self, wanted: &[String]) -> Failure {
        let is_known = |name: &&String| self.tables().any(|table| table.column(name).is_some());
        let what = match wanted.iter().find(|name| !is_known(name)) {
            Some(unknown) => format!("there is no column {unknown}"),
            None => "these columns are of different tables".to_owned(),
        };
        let named = |table: &Table| {
            let names = table.head.iter().map(|column| column.name);
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            names.join(", ")
        };
        let there: Vec<String> = self.tables().map(named).collect();
        let why = match there.is_empty() {
            true => "there is no table in this answer".to_owned(),
            false => format!("there are: {}", there.join("; or: ")),
        };
        Failure::usage(what, why).fix("letter case does not matter, and `-` stands for a space")
    }

    fn laid_out(&self, look: &Look) -> String {
        let parts = self.0.iter().map(|part| part.text(look));
        let parts: Vec<String> = parts.filter(|text| !text.is_empty()).collect();
        parts.join("\n\n")
    }
}

impl Part {
    fn text(&self, look: &Look) -> String {
        let body = match &self.body {
            Body::Text(text) => text.clone(),
            Body::Sentences(text) => match look.width.filter(|_| !look.wide) {
                Some(room) => {
                    let indent = |line: &str| line.len() - line.trim_start().len();
                    let lines = text.lines().map(|line| folded(line, room, indent(line) + 2));
                    lines.collect::<Vec<_>>().join("\n")
                }
                None => text.clone(),
            },
            Body::Pairs(pairs) => lined_up(pairs),
            Body::Table(table) => table.text(look),
        };
        let lines = [&self.title, &body, &self.foot];
        let lines: Vec<&str> = lines
            .into_iter()
            .map(String::as_str)
            .filter(|line| !line.is_empty())
            .collect();
        lines.join("\n")
    }
}

impl Table {
    fn column(&self, name: &str) -> Option<usize> {
        let plain = |name: &str| name.replace(['-', '_'], " ").to_uppercase();
        let name = plain(name.trim());
        let mut columns = self.head.iter();
        columns.position(|column| !name.is_empty() && plain(column.name) == name)
    }

    /// Only these columns, in this order.
    fn of(&self, names: &[String]) -> Table {
        let at: Vec<usize> = names.iter().filter_map(|name| self.column(name)).collect();
        Table {
            instead: String::new(),
            ..self.only(&at)
        }
    }

    fn only(&self, at: &[usize]) -> Table {
        let row = |row: &Vec<String>| at.iter().filter_map(|i| row.get(*i).cloned()).collect();
        Table {
            head: at.iter().filter_map(|i| self.head.get(*i).copied()).collect(),
            rows: self.rows.iter().map(row).collect(),
            ..self.clone()
        }
    }

    fn text(&self, look: &Look) -> String {
        if self.rows.is_empty() && !self.instead.is_empty() && !look.no_headers {
            return self.instead.clone();
        }
        let every = 0..self.head.len();
        let there = every.filter(|i| look.wide || self.head[*i].kind != Kind::Wide);
        let mut table = self.only(&there.collect::<Vec<_>>());
        for cell in table.rows.iter_mut().flatten().filter(|cell| cell.is_empty()) {
            cell.push('-');
        }
        let room = look.width.filter(|_| !look.wide);
        let wrapped = room.and_then(|room| table.give_way(room, look.no_headers));
        table.grid(wrapped, look)
    }

    /// Makes it fit, as far as what stays whole lets it: sentences are wrapped, then columns are cut from the right. When
    /// that is not enough, the last that can be missed is left out. Says how broad the sentences may be, if they must be
    /// told.
    fn give_way(&mut self, room: usize, no_headers: bool) -> Option<(usize, usize)> {
        let mut broad = self.broad(no_headers);
        while needed(&self.least(&broad)) > room {
            let missed = |column: &Column| matches!(column.kind, Kind::Cut | Kind::Spare);
            let Some(last) = self.head.iter().rposition(missed) else {
                break;
            };
            let others: Vec<usize> = (0..self.head.len()).filter(|at| *at != last).collect();
            *self = self.only(&others);
            broad = self.broad(no_headers);
        }
        let least = self.least(&broad);
        let mut over = needed(&broad).saturating_sub(room);
        let mut give = |at: usize| {
            let given = over.min(broad[at] - least[at]);
            over -= given;
            (given > 0).then_some((at, broad[at] - given))
        };
        let sentences = self.head.iter().position(|column| column.kind == Kind::Wrap);
        let wrapped = sentences.and_then(&mut give);
        let columns = self.head.iter().enumerate().rev();
        let cuts = columns.filter(|(_, column)| column.kind == Kind::Cut);
        let cuts: Vec<(usize, usize)> = cuts.filter_map(|(at, _)| give(at)).collect();
        for (at, left) in cuts {
            for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(at)) {
                *cell = shortened(cell, left);
            }
        }
        wrapped
    }

    /// How broad each column is.
    fn broad(&self, no_headers: bool) -> Vec<usize> {
        let broadest = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let lines = cells.flat_map(|cell| cell.lines()).map(UnicodeWidthStr::width);
            let head = if no_headers { 0 } else { column.name.width() };
            lines.max().unwrap_or_default().max(head)
        };
        self.head.iter().enumerate().map(broadest).collect()
    }

    /// How narrow each can be made.
    fn least(&self, broad: &[usize]) -> Vec<usize> {
        let least = |(column, broad): (&Column, &usize)| match column.kind {
            Kind::Whole | Kind::Spare | Kind::Wide => *broad,
            Kind::Cut => CUT_MIN.max(column.name.width()).min(*broad),
            Kind::Wrap => WRAP_MIN.min(*broad),
        };
        self.head.iter().zip(broad).map(least).collect()
    }

    fn grid(&self, wrapped: Option<(usize, usize)>, look: &Look) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        let is_named = self.head.iter().any(|column| !column.name.is_empty());
        if is_named && !look.no_headers {
            grid.set_header(self.head.iter().map(|column| column.name));
        }
        for row in &self.rows {
            grid.add_row(row);
        }
        finished(&mut grid, wrapped)
    }
}

fn needed(broad: &[usize]) -> usize {
    broad.iter().sum::<usize>() + GAP * broad.len().saturating_sub(1)
}

fn lined_up(pairs: &[(String, String)]) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    for (name, value) in pairs {
        grid.add_row([name, value]);
    }
    finished(&mut grid, None)
}

fn finished(grid: &mut Grid, wrapped: Option<(usize, usize)>) -> String {
    grid.set_content_arrangement(match wrapped {
        Some(_) => ContentArrangement::Dynamic,
        None => ContentArrangement::Disabled,
    });
    // Only the column that is told a width of its own is ever narrower than what is in it.
    grid.set_width(u16::MAX);
    for (at, column) in grid.column_iter_mut().enumerate() {
        column.set_padding((0, GAP as u16));
        column.set_cell_alignment(CellAlignment::Left);
        if let Some((_, room)) = wrapped.filter(|(which, _)| *which == at) {
            let room = u16::try_from(room + GAP).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(room)));
        }
    }
    let lines: Vec<String> = grid.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A line in several, none broader than there is room, as far as its words let it; those below begin so far in.
pub fn folded(line: &str, room: usize, hang: usize) -> String {
    let hang = " ".repeat(hang);
    let mut lines = vec![String::new()];
    for (at, word) in line.split(' ').enumerate() {
        let Some(last) = lines.last_mut() else { break };
        let is_first = at == 0 || last.trim().is_empty();
        if is_first || last.width() + 1 + word.width() <= room {
            last.push_str(if at == 0 { "" } else { " " });
            last.push_str(word);
        } else {
            lines.push(format!("{hang}{word}"));
        }
    }
    lines.join("\n")
}

/// As many letters of each line as there is room for, and `…` for the others.
pub fn shortened(text: &str, room: usize) -> String {
    let line = |line: &str| {
        if line.width() <= room {
            return line.to_owned();
        }
        let mut short = String::new();
        for letter in line.chars() {
            short.push(letter);
            if short.width() >= room {
                short.pop();
                break;
            }
        }
        format!("{}…", short.trim_end())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Page {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [
            row("t_0123456789ab", "one.example,two.example,three.example", "w"),
            row("t_1", "", "x"),
        ];
        Page::from("above").and(table([col("ID"), cut("DOMAINS"), wide("LOOKED AT")], rows).under("title"))
    }

    fn look(width: Option<usize>) -> Look {
        Look {
            width,
            ..Look::default()
        }
    }

    #[test]
    fn a_file_gets_everything_and_a_terminal_what_fits() {
        let plain = "\
above

title
ID              DOMAINS
t_0123456789ab  one.example,two.example,three.example
t_1             -";
        assert_eq!(two().plain(), plain);
        assert_eq!(
            two().shown(&look(Some(53))).unwrap(),
            plain,
            "it fits to the letter"
        );
        let narrow = two().shown(&look(Some(40))).unwrap();
        assert!(
            narrow.contains("t_0123456789ab  one.example,two.example…"),
            "{narrow}"
        );
        assert!(narrow.lines().all(|line| line.width() <= 40), "{narrow}");
        let least = two().shown(&look(Some(24))).unwrap();
        assert!(least.contains("t_0123456789ab  one.exa…"), "{least}");
        let none = two().shown(&look(Some(10))).unwrap();
        assert!(
            none.contains("\nt_0123456789ab\n") && !none.contains("DOMAINS"),
            "an id is never cut: {none}"
        );
        let wide = Look {
            wide: true,
            width: Some(40),
            ..Look::default()
        };
        let wide = two().shown(&wide).unwrap();
        assert!(
            wide.contains("three.example  w") && wide.contains("LOOKED AT"),
            "{wide}"
        );
    }

    #[test]
    fn sentences_go_over_several_lines_and_stay_in_their_column() {
        let rows = [
            vec!["serving".to_owned(), "a b c d e f ".repeat(6)],
            vec!["x".into(), "y".into()],
        ];
        let page = table([col("WHAT"), wrap("WHY")], rows);
        let text = page.shown(&look(Some(40))).unwrap();
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
        assert!(text.lines().count() > 4, "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("         "), "{text}");
        assert_eq!(page.plain().lines().count(), 3);
    }

    #[test]
    fn what_can_be_missed_goes_before_what_is_copied_and_the_last_goes_first() {
        let rows = [["one", "two", "three", "a sentence of many words and more"]
            .map(str::to_owned)
            .to_vec()];
        let page = table([col("ID"), spare("GROUP"), spare("SCHEMA"), wrap("WHY")], rows);
        let heads = |width| {
            page.shown(&look(Some(width)))
                .unwrap()
                .lines()
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(heads(54), "ID   GROUP  SCHEMA  WHY");
        assert_eq!(
            heads(40),
            "ID   GROUP  SCHEMA  WHY",
            "the sentence gives way first"
        );
        assert_eq!(heads(39), "ID   GROUP  WHY");
        assert_eq!(heads(25), "ID   WHY");
        assert_eq!(heads(5), "ID   WHY", "what stays, stays");
    }

    #[test]
    fn columns_are_chosen_by_name_and_an_unknown_one_names_those_there_are() {
        let of = |names: &[&str], no_headers| {
            two().shown(&Look {
                columns: names.iter().map(|name| (*name).to_owned()).collect(),
                no_headers,
                ..Look::default()
            })
        };
        assert_eq!(
            of(&["looked-at", "ID"], false).unwrap(),
            "LOOKED AT  ID\nw          t_0123456789ab\nx          t_1"
        );
        assert!(of(&["id"], true).unwrap().eq("t_0123456789ab\nt_1"));
        let failure = of(&["ID", "nope"], false).unwrap_err();
        assert_eq!(failure.exit, crate::fail::Exit::Usage);
        assert_eq!(failure.what, "there is no column nope");
        assert_eq!(failure.why, "there are: ID, DOMAINS, LOOKED AT");
    }

    #[test]
    fn words_stand_in_for_a_table_without_rows_but_not_for_a_program() {
        let none = table(["A"], []).or("nothing");
        assert_eq!(none.plain(), "nothing");
        let bare = Look {
            no_headers: true,
            ..Look::default()
        };
        assert_eq!(none.shown(&bare).unwrap(), "");
        assert_eq!(table(["A"], []).plain(), "A");
    }

    #[test]
    fn a_sentence_goes_on_below_itself_and_its_words_stay_whole() {
        let text = "✓ one two three\n    four five six\n  averyveryverylongword end";
        let told = Page::sentences(text);
        let folded = "\
✓ one two
  three
    four five
      six
  averyveryverylongword
    end";
        assert_eq!(told.shown(&look(Some(13))).unwrap(), folded);
        assert_eq!(told.shown(&look(Some(80))).unwrap(), text);
        assert_eq!(told.plain(), text, "a file gets it whole");
    }

    #[test]
    fn broad_letters_count_twice() {
        assert_eq!(shortened("日本語テキスト", 7), "日本語…");
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("shorter", 5), "shor…");
    }
}
