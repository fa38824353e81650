package jitter

const (
	// remembered is how many sequence numbers behind the highest are told from each other.
	remembered = 64
	// farAhead is a step of sequence numbers that is no loss, but another source or start (as in RFC 3550, A.1).
	farAhead = 3000
)

// sequence counts one source's sequence numbers, extended beyond 16 bits.
type sequence struct {
	first, highest int64
	unique         int64
	lostBefore     int64  // of the sources before this one
	seen           uint64 // bit n: highest-n has come
}

// follow counts from this number on.
func (s *sequence) follow(number uint16) int64 {
	s.lostBefore = s.lost()
	s.first, s.highest = int64(number), int64(number)-1
	s.unique, s.seen = 0, 0
	return int64(number)
}

// extended is the number nearest to the highest so far; near is false if it is too far off to be of the same source.
func (s *sequence) extended(number uint16) (extended int64, near bool) {
	step := int64(int16(number - uint16(s.highest)))
	return s.highest + step, step > -remembered && step <= farAhead
}

// has tells if a number has come; of one far behind the highest, it does not know.
func (s *sequence) has(extended int64) bool {
	behind := s.highest - extended
	return behind >= 0 && behind < remembered && s.seen&(1<<behind) != 0
}

// add enters a near number that has not come.
func (s *sequence) add(extended int64) {
	if step := extended - s.highest; step > 0 {
		s.seen = s.seen<<min(step, remembered) | 1
		s.highest = extended
	} else {
		s.seen |= 1 << -step
	}
	s.first = min(s.first, extended)
	s.unique++
}

// lost is how many numbers never came.
func (s *sequence) lost() int64 {
	if s.unique == 0 {
		return s.lostBefore
	}
	return s.lostBefore + s.highest - s.first + 1 - s.unique
}
