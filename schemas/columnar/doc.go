// Package columnar writes the nouns of package schemas as Parquet files and
// reads them back.
//
// Most callers want one of the codecs: [Samples] for the table of samples,
// [DatasetWriter] and [DecodeDataset] for what the trainer learns from,
// [EncodeForecasts] and [EncodeDecisions] for what it led to. A [Schema] with a
// [Writer] and a [Reader] is there for tables that have no codec of their own.
//
// # Units
//
// Usage is stored in whole small units, because differences of whole numbers
// pack well and a float64 does not: CPU as DECIMAL(18,4) cores, that is whole
// tenths of a millicore, and memory in whole KiB, which the column's name then
// says. 0.9 cores are 9000 tenths of a millicore and come back as the float64
// 0.9. What is not known is null, never zero.
//
// # Layout
//
// Rows are sorted by component and then time, and cut into row groups of
// [GroupRows]. Whole units are DELTA_BINARY_PACKED, names and other values that
// repeat are dictionary encoded, and pages are compressed with zstd, in files of
// a few rows with Snappy. The choice was measured on real series (the benchmarks
// repeat it): 2.2 bytes a value, against 2.7 for plain integers, 3.1 for rows
// sorted by time and 4.2 for a dictionary of the values.
//
// # Trust
//
// A file carries a fingerprint of its schema and, since the library writes no
// page checksums, a CRC-32C over all its bytes. A reader checks both before
// anything is parsed, then the number of rows, the range of every value and the
// order of the rows. A file that fails is [schemas.CodeCorrupt] where bytes
// were damaged and [schemas.CodeInvalidData] where they are whole but break a
// rule.
package columnar
