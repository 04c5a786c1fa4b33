//! What all pictures share: a white ground (a page may be dark), title, circumstances, legend, axes and marks.

use anyhow::{Result, anyhow};
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::seen::Spread;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

const SIZE: (u32, u32) = (820, 460);
const LEFT: i32 = 18;
const HEAD: i32 = 84;
const FONT: &str = "sans-serif";
/// The library's sizes are greater than what they become by this.
const POINTS: f64 = 1.24;
/// About as wide is a letter of the legend.
const LETTER: i32 = 7;

/// Told apart by those who see few colours, too.
const OURS: RGBColor = RGBColor(0, 90, 181);
pub(super) const PEER: RGBColor = RGBColor(214, 94, 0);
pub(super) const SIDES: [(RGBColor, &str); 2] = [(OURS, "Reeve"), (PEER, "etcd")];
pub(super) const INK: RGBColor = RGBColor(32, 32, 32);
pub(super) const FAINT: RGBColor = RGBColor(96, 96, 96);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    Bar,
    Dot,
    Ring,
}

pub(super) struct Head<'a> {
    pub title: &'a str,
    pub beneath: String,
    pub legend: Vec<(RGBColor, Mark, String)>,
    /// How the marks are to be read.
    pub note: &'a str,
}

/// A picture with this above, and below what is drawn into the rest.
pub(super) fn picture(head: &Head, body: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let whole = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        whole.fill(&WHITE)?;
        let (above, below) = whole.split_vertically(HEAD);
        draw_head(&above, head)?;
        body(&below)?;
        whole.present()?;
    }
    Ok(svg)
}

fn draw_head(area: &Area, head: &Head) -> Result<()> {
    area.draw_text(head.title, &bold(17.0), (LEFT, 12))?;
    area.draw_text(&head.beneath, &font(12.0, FAINT), (LEFT, 37))?;
    let mut x = LEFT;
    for (colour, mark, name) in &head.legend {
        swatch(area, (x, 66), *colour, *mark)?;
        area.draw_text(name, &left(13.0, INK), (x + 20, 66))?;
        x += 20 + 20 + LETTER * i32::try_from(name.chars().count())?;
    }
    area.draw_text(head.note, &left(12.0, FAINT), (x, 66))?;
    Ok(())
}

fn swatch(area: &Area, (x, y): (i32, i32), colour: RGBColor, mark: Mark) -> Result<()> {
    match mark {
        Mark::Bar => area.draw(&Rectangle::new([(x, y - 6), (x + 14, y + 6)], colour.filled()))?,
        Mark::Dot => area.draw(&Circle::new((x + 7, y), 5, colour.filled()))?,
        Mark::Ring => area.draw(&Circle::new((x + 7, y), 5, colour.stroke_width(2)))?,
    }
    Ok(())
}

/// Axes and a grid of level lines.
pub(super) fn chart<'a, 'b>(
    area: &'a Area<'b>,
    (x, across): (&Axis, &str),
    (y, up): (&Axis, &str),
) -> Result<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(22)
        .margin_left(8)
        .margin_bottom(8)
        .margin_top(14)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(font(13.0, INK))
        .axis_desc_style(font(13.0, INK))
        .x_desc(across)
        .y_desc(up)
        .draw()?;
    Ok(chart)
}

/// A value at a place, its rounds as a line from the least to the greatest.
pub(super) fn whisker(chart: &mut Chart, x: f64, spread: Spread, colour: RGBColor) -> Result<()> {
    let Some([least, greatest]) = spread.range else {
        return Ok(());
    };
    let ends = vec![(x, least), (x, greatest)];
    line(chart, ends, colour.stroke_width(2))
}

pub(super) fn line(chart: &mut Chart, points: Vec<(f64, f64)>, style: ShapeStyle) -> Result<()> {
    chart.draw_series([PathElement::new(points, style)])?;
    Ok(())
}

pub(super) fn point(chart: &mut Chart, at: (f64, f64), colour: RGBColor, mark: Mark) -> Result<()> {
    match mark {
        Mark::Ring => {
            chart.draw_series([Circle::new(at, 5, WHITE.filled())])?;
            chart.draw_series([Circle::new(at, 5, colour.stroke_width(2))])?;
        }
        Mark::Bar | Mark::Dot => {
            chart.draw_series([Circle::new(at, 5, colour.filled())])?;
        }
    }
    Ok(())
}

/// Words beside a place, so many pixels away.
pub(super) fn words(
    chart: &mut Chart,
    at: (f64, f64),
    away: (i32, i32),
    text: String,
    anchor: HPos,
) -> Result<()> {
    let style = font(12.0, INK).pos(Pos::new(anchor, VPos::Center));
    chart.draw_series([EmptyElement::at(at) + Text::new(text, away, style)])?;
    Ok(())
}

fn font(pixels: f64, colour: RGBColor) -> TextStyle<'static> {
    let style: TextStyle = (FONT, pixels * POINTS).into_text_style(&SIZE);
    TextStyle {
        color: colour.to_backend_color(),
        ..style
    }
}

fn left(pixels: f64, colour: RGBColor) -> TextStyle<'static> {
    font(pixels, colour).pos(Pos::new(HPos::Left, VPos::Center))
}

fn bold(pixels: f64) -> TextStyle<'static> {
    (FONT, pixels * POINTS, FontStyle::Bold)
        .into_text_style(&SIZE)
        .color(&INK)
}

/// Nothing to draw is not a picture.
pub(super) fn some<T>(values: &[T], what: &str) -> Result<()> {
    match values.is_empty() {
        true => Err(anyhow!("{what} has no values")),
        false => Ok(()),
    }
}
