//! draft
mod schedule;
