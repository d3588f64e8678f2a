package watch

import (
	"container/heap"
	"time"
)

// dueQueue holds the files that are to be looked at again, the next one first.
type dueQueue []*file

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].queued, q[j].queued = i+1, j+1
}

// Push is for package heap.
func (q *dueQueue) Push(x any) {
	f := x.(*file)
	*q = append(*q, f)
	f.queued = len(*q)
}

// Pop is for package heap.
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	f := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	f.queued = 0
	return f
}

// schedule sets when f is looked at next.
func (q *dueQueue) schedule(f *file, at time.Time) {
	f.due = at
	if f.queued == 0 {
		heap.Push(q, f)
		return
	}
	heap.Fix(q, f.queued-1)
}

// cancel takes f out of the queue.
func (q *dueQueue) cancel(f *file) {
	if f.queued != 0 {
		heap.Remove(q, f.queued-1)
	}
}

// next returns the file that is due at now, nil when none is.
func (q *dueQueue) next(now time.Time) *file {
	if len(*q) == 0 || (*q)[0].due.After(now) {
		return nil
	}
	return heap.Pop(q).(*file)
}
