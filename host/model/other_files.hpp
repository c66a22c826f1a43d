// Files that are neither CSV nor NDJSON, known by their first bytes.
#pragma once

#include <string_view>

namespace sluice::model {

/// Throws Failure(bad_input) when a file is another kind of file than it is taken for, with what to
/// do: import.packed (gzip, zip, bzip2, xz, zstd), import.workbook (Excel, LibreOffice),
/// import.not_text (PDF, Parquet, SQLite), import.json (a JSON document as CSV; a JSON array as
/// NDJSON). `beginning` is the file's first bytes, as they came.
void refuse_other_files(std::string_view beginning, bool as_csv);

}  // namespace sluice::model
