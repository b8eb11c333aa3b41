//! The page at `/ui` as the tests look at it: numbers as it writes them, pictures, and whether they can be read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::browser::Browser;

/// A desk and a hand.
const SIZES: [(u32, u32); 2] = [(1440, 900), (420, 900)];

/// True once the page shows numbers.
pub const IS_LIVE: &str = "document.getElementById('state')?.innerText === 'Live'";

/// A browser with a window as on a desk that shows the page at `place`.
pub fn open(place: &str) -> Result<Browser> {
    let mut browser = Browser::start()?;
    browser.resize(SIZES[0].0, SIZES[0].1)?;
    browser.open(place)?;
    browser.until(IS_LIVE)?;
    Ok(browser)
}

/// Waits until the page has counted this many requests in all.
pub fn until_counted(browser: &mut Browser, requests: usize) -> Result<()> {
    let total = format!("{} since the start", grouped(requests as f64));
    browser.until(&format!("document.getElementById('tile-total').innerText === '{total}'"))
}

/// Whole numbers as the page writes them.
pub fn grouped(value: f64) -> String {
    // The sum of nothing is -0.
    let digits = format!("{:.0}", value + 0.0);
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Leaves pictures in both sizes and both schemes. Error if the page is wider than the window or a text cannot be read.
pub fn pictures(browser: &mut Browser, folder: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    for scheme in ["light", "dark"] {
        browser.prefer("prefers-color-scheme", scheme)?;
        for (width, height) in SIZES {
            browser.resize(width, height)?;
            // The drawings follow the size a frame later.
            browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")?;
            let page = browser.evaluate("document.documentElement.scrollWidth")?;
            ensure!(page == json!(width), "{name} is {page} wide in a window of {width}");
            browser.screenshot(&folder.join(format!("{name}-{scheme}-{width}.png")))?;
        }
        can_be_read(browser).with_context(|| format!("{scheme}, {name}"))?;
    }
    browser.resize(SIZES[0].0, SIZES[0].1)
}

/// Each text has the contrast with its ground that WCAG 2.2 asks for (1.4.3: 4.5 to 1).
fn can_be_read(browser: &mut Browser) -> Result<()> {
    let faint = browser.evaluate(FAINT)?;
    ensure!(faint == json!([]), "{faint}");
    Ok(())
}

/// Elements with a text of their own that stands out too little.
const FAINT: &str = "(() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => numbers(colour).slice(0, 3).map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if ((numbers(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    return [...document.querySelectorAll('body *')]
        .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((element) => [element.outerHTML.slice(0, 80), ratio(light(getComputedStyle(element).color), light(ground(element)))])
        .filter(([, contrast]) => contrast < 4.5);
})()";
