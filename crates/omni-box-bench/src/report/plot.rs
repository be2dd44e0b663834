//! A plot as SVG text.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::Series;

const SIZE: (u32, u32) = (640, 260);
const COLORS: [RGBColor; 3] =
    [RGBColor(0x1f, 0x6f, 0xb4), RGBColor(0xd6, 0x5f, 0x0e), RGBColor(0x2c, 0x8f, 0x4e)];
/// Room above the highest point.
const AIR: f64 = 1.05;

/// Lines over seconds; `level` is drawn across.
pub(super) fn svg(title: &str, unit: &str, lines: &[Series], level: Option<f64>) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, unit, lines, level).map_err(|error| anyhow!("the plot {title}: {error}"))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    unit: &str,
    lines: &[Series],
    level: Option<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let until = points().map(|(at, _)| at).fold(f64::MIN_POSITIVE, f64::max);
    let highest = points().map(|(_, value)| value).chain(level).fold(f64::MIN_POSITIVE, f64::max) * AIR;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..until, 0.0..highest)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("seconds").y_desc(unit).draw()?;
    for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color))?
            .label(line.label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], *color));
    }
    if let Some(level) = level {
        chart
            .draw_series(LineSeries::new([(0.0, level), (until, level)], BLACK.mix(0.5)))?
            .label("floor")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK.mix(0.5)));
    }
    if lines.len() + usize::from(level.is_some()) > 1 {
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    }
    area.present()?;
    drop(chart);
    Ok(())
}
