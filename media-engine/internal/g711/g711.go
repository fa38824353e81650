// Package g711 converts between 16-bit PCM and the two logarithmic codes of ITU-T G.711, at 8 kHz.
package g711

import "math/bits"

// Law is one of the two codes.
type Law uint8

const (
	// ULaw is PCMU, RTP payload type 0.
	ULaw Law = 0
	// ALaw is PCMA, RTP payload type 8.
	ALaw Law = 8
)

const (
	uLawBias = 132
	uLawClip = 32635
	aLawMask = 0x55
)

var (
	uLawPCM [256]int16
	aLawPCM [256]int16
)

func init() {
	for code := range 256 {
		uLawPCM[code] = decodeULaw(byte(code))
		aLawPCM[code] = decodeALaw(byte(code))
	}
}

// String is the code's name in SDP.
func (l Law) String() string {
	if l == ALaw {
		return "PCMA"
	}
	return "PCMU"
}

// PayloadType is the code's static RTP payload type (RFC 3551).
func (l Law) PayloadType() uint8 { return uint8(l) }

// Silence is the code of a zero sample.
func (l Law) Silence() byte {
	if l == ALaw {
		return 0x80 ^ aLawMask
	}
	return 0xff
}

// Decode writes one sample of dst for each byte of src. dst must be at least as long as src.
func (l Law) Decode(dst []int16, src []byte) {
	table := &uLawPCM
	if l == ALaw {
		table = &aLawPCM
	}
	for i, code := range src {
		dst[i] = table[code]
	}
}

// Encode writes one byte of dst for each sample of src. dst must be at least as long as src.
func (l Law) Encode(dst []byte, src []int16) {
	encode := encodeULaw
	if l == ALaw {
		encode = encodeALaw
	}
	for i, sample := range src {
		dst[i] = encode(sample)
	}
}

func encodeULaw(sample int16) byte {
	magnitude, sign := int(sample), byte(0)
	if magnitude < 0 {
		magnitude, sign = -magnitude, 0x80
	}
	magnitude = min(magnitude, uLawClip) + uLawBias
	exponent := bits.Len(uint(magnitude)) - 8
	mantissa := byte(magnitude>>(exponent+3)) & 0x0f
	return ^(sign | byte(exponent)<<4 | mantissa)
}

func decodeULaw(code byte) int16 {
	code = ^code
	exponent := (code >> 4) & 7
	magnitude := (int(code&0x0f)<<3+uLawBias)<<exponent - uLawBias
	if code&0x80 != 0 {
		return int16(-magnitude)
	}
	return int16(magnitude)
}

func encodeALaw(sample int16) byte {
	magnitude, sign := int(sample), byte(0x80)
	if magnitude < 0 {
		magnitude, sign = -magnitude-1, 0
	}
	magnitude >>= 3
	exponent := bits.Len(uint(magnitude >> 5))
	mantissa := magnitude >> 1
	if exponent > 1 {
		mantissa = magnitude >> exponent
	}
	return (sign | byte(exponent)<<4 | byte(mantissa&0x0f)) ^ aLawMask
}

func decodeALaw(code byte) int16 {
	code ^= aLawMask
	exponent := (code >> 4) & 7
	magnitude := int(code&0x0f)<<4 + 8
	if exponent > 0 {
		magnitude = (magnitude + 0x100) << (exponent - 1)
	}
	if code&0x80 == 0 {
		return int16(-magnitude)
	}
	return int16(magnitude)
}
