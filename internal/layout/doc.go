// Package layout recognises how a tree of training runs is laid out, and proposes watches that bundle it.
//
// It looks at names first: files whose names differ only in numbers, or in words such as best and last, are
// a family; families that have the same numbers are the roles of one set. Then it opens one file of each
// family: the names and shapes of its tensors tell whether two families are two models, or one model at
// different times. What names and content leave open is said in the proposal, beside the line in question.
//
// Nothing is changed, links are not followed, and the walk is bounded.
package layout
