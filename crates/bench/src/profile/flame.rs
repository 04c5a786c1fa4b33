//! A flamegraph: the width of a call is the part of the samples that it was in.

use anyhow::{Result, ensure};
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{Options, from_lines};

use super::fold::Stacks;

/// A page shows several of them.
pub const SVG_BYTES_MAX: usize = 300_000;
const WIDTH: usize = 1_200;
/// What is narrower than this part of the picture, in percent, is left out; more when the picture would be too large.
const NARROWEST: f64 = 0.1;
const NARROWEST_MAX: f64 = 10.0;
const WIDER: f64 = 1.4;

/// Draws all stacks, as fine as the size of the file allows. The same stacks give the same picture.
pub fn draw(stacks: &Stacks, title: &str, beneath: &str) -> Result<String> {
    let mut narrowest = NARROWEST;
    loop {
        let svg = draw_from(stacks, title, beneath, narrowest)?;
        if svg.len() <= SVG_BYTES_MAX {
            return Ok(svg);
        }
        narrowest *= WIDER;
        ensure!(
            narrowest <= NARROWEST_MAX,
            "{title} does not fit into {SVG_BYTES_MAX} bytes"
        );
    }
}

fn draw_from(stacks: &Stacks, title: &str, beneath: &str, narrowest: f64) -> Result<String> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(beneath.to_owned());
    options.colors = Palette::Multi(MultiPalette::Rust);
    options.deterministic = true;
    options.image_width = Some(WIDTH);
    options.min_width = narrowest;
    let mut svg = Vec::new();
    from_lines(&mut options, stacks.folded().lines(), &mut svg)?;
    Ok(String::from_utf8(svg)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_drawn_with_its_part_of_the_samples() {
        let stacks = Stacks::of_folded("consensus;a::run;b::poll 3\narchive;sled::flush 1\n");
        let svg = draw(&stacks, "Writes", "abc, 2 cores").unwrap();
        for part in ["<svg", "Writes", "abc, 2 cores", "b::poll (3 samples, 75.00%)"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg, draw(&stacks, "Writes", "abc, 2 cores").unwrap());
        assert!(draw(&Stacks::of_folded(""), "", "").is_err());
    }

    #[test]
    fn what_is_narrow_gives_way_until_the_picture_is_small() {
        let many = |nth: u32| {
            format!(
                "calls;a_module_with_a_long_name::run_{nth};poll_{nth} {}\n",
                1 + nth % 97
            )
        };
        let stacks = Stacks::of_folded(&(0..1_200).map(many).collect::<String>());
        let all = draw_from(&stacks, "", "", 0.0).unwrap();
        let drawn = draw(&stacks, "", "").unwrap();
        assert!(
            all.len() > SVG_BYTES_MAX && drawn.len() <= SVG_BYTES_MAX,
            "{}",
            all.len()
        );
    }
}
