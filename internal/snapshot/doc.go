// Package snapshot freezes the configuration of a run and translates it to params.
//
// [Read] takes a config file as it is at one moment; [Decode] reads JSON, YAML and TOML into plain
// values (see package pickle) in the order of the file; [Plain] does the same for the
// hyper_parameters of a checkpoint. [Translate] chooses among these sources and makes the params
// of a bundle, together with notes on everything that was left out, flattened or overridden.
//
// Config files are foreign data: no tag, class or reference in them is ever acted upon, and the
// work and memory spent on one are bounded.
package snapshot
