//! A picture of the cost per request by stage, as SVG.

use std::fmt::Write as _;

use super::stats::{Estimate, estimate};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 64.0;
const BAR: f64 = 26.0;
const PITCH: f64 = 44.0;
const FOOT: f64 = 34.0;

/// Bars of the median µs a request, with their 95 % intervals. `None` when there is nothing to show.
pub fn stages(title: &str, below: &str, stages: &[(&str, Vec<f64>)]) -> Option<String> {
    let bars: Vec<_> = stages.iter().filter_map(|(name, values)| Some((*name, estimate(values)?))).collect();
    let ends = bars.iter().map(|(_, bar)| bar.interval.map_or(bar.median, |(_, upper)| upper));
    let longest = ends.fold(0.0, f64::max);
    if !longest.is_normal() {
        return None;
    }
    let bare = bars[0].1.median;
    let height = TOP + PITCH * bars.len() as f64 + FOOT;
    let mut svg = head(title, height);
    for (i, (name, value)) in bars.iter().enumerate() {
        let colour = if i == 0 { "#7a8794" } else { "#2f6fb0" };
        svg += &bar(TOP + PITCH * i as f64, name, value, bare, colour, (WIDTH - LEFT - RIGHT) / longest);
    }
    let (y, below) = (height - 12.0, escaped(below));
    let _ = writeln!(svg, "<text x=\"20\" y=\"{y:.1}\" font-size=\"11\" fill=\"#555\">{below}</text>\n</svg>");
    Some(svg)
}

/// Name, bar, interval and numbers of one stage. `scale` is pixels a µs.
fn bar(top: f64, name: &str, value: &Estimate, bare: f64, colour: &str, scale: f64) -> String {
    let (middle, text) = (top + BAR / 2.0, top + BAR / 2.0 + 5.0);
    let x = |us: f64| LEFT + us * scale;
    let mut svg = format!(
        "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LEFT:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n",
        LEFT - 10.0,
        escaped(name),
        value.median * scale
    );
    let mut end = x(value.median);
    if let Some((lower, upper)) = value.interval {
        end = x(upper);
        let line = format!("M{:.1} {middle:.1}H{end:.1}", x(lower));
        let _ = writeln!(svg, "<path d=\"{line}\" stroke=\"#1d1d1d\" stroke-width=\"2\"/>");
    }
    let numbers = format!("{:.2} µs, {:.2} of bare", value.median, value.median / bare);
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text:.1}\">{numbers}</text>", end + 6.0);
    svg
}

fn head(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"32\" font-size=\"17\">{0}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element that begins ends, in order, and no `<` or bare `&` is left in the text between.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some((text, after)) = rest.split_once('<') {
            assert!(
                text.split('&').skip(1).all(|after| after.split_once(';').is_some_and(|(name, _)| name.len() < 5)),
                "{text}"
            );
            let (tag, after) = after.split_once('>').expect("a tag ends");
            assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
            let name = tag.trim_matches('/').split([' ', '\n']).next().unwrap();
            match tag {
                tag if tag.starts_with('/') => assert_eq!(open.pop(), Some(name)),
                tag if tag.ends_with('/') => {}
                _ => open.push(name),
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
    }

    #[test]
    fn the_picture_is_well_formed_whatever_the_names_are() {
        let svg = stages("a < b & \"c\"", "x > y", &[("<bare>", vec![13.0; 15]), ("a&b", vec![14.0; 15])]).unwrap();
        assert_well_formed(&svg);
        assert!(svg.contains("&lt;bare&gt;") && svg.contains("14.00 µs, 1.08 of bare"), "{svg}");
    }

    #[test]
    fn the_longest_bar_ends_before_the_numbers() {
        let svg = stages("t", "b", &[("a", vec![10.0]), ("b", vec![40.0])]).unwrap();
        assert_well_formed(&svg);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"26\""))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths, [80.0, 320.0]);
    }

    #[test]
    fn without_values_there_is_no_picture() {
        assert_eq!(stages("t", "b", &[]), None);
        assert_eq!(stages("t", "b", &[("a", vec![])]), None);
        assert_eq!(stages("t", "b", &[("a", vec![0.0])]), None);
    }
}
