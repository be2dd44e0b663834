//! The name that was meant.

/// The candidate that a name is nearest to, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let furthest = (name.chars().count() / 3).max(2);
    let ranked = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= furthest);
    ranked.min().map(|(_, candidate)| candidate)
}

/// How an unknown name is answered: with the nearest one, else with all.
pub(crate) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(name, candidates.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("there are {}", candidates.join(", ")),
    }
}
