// Package shelf reads an artifact directory as a shelf of bundles: which there are, in which state each is,
// which are pinned. It keeps nothing of its own but the pins, which lie in the directory too:
//
//	<dir>/.pins/<watch>/<key>   the bundle <dir>/<watch>/<key>/ keeps its archive
//	<dir>/.pins/.lock           held while a pin or a bundle is changed
//
// A listing goes from directory to directory and holds one bundle at a time, never its tensors.
package shelf
