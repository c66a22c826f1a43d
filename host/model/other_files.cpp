#include "model/other_files.hpp"

#include <array>
#include <string>

#include "base/error.hpp"

namespace sluice::model {
namespace {

using namespace std::string_view_literals;

struct Kind {
  std::string_view magic;  ///< the first bytes of each such file
  const char* code;
  const char* message;
  const char* hint;
};

constexpr const char* kSaveAsCsv =
    "Save the sheet as CSV (UTF-8) and import that: \"Save as\" in Excel and LibreOffice, or "
    "soffice --convert-to csv FILE";

constexpr std::array<Kind, 9> kKinds = {{
    {"\x1f\x8b"sv, "import.packed", "the file is packed with gzip",
     "Unpack it first: gzip -dc FILE | sluice entity import TYPE -"},
    {"BZh"sv, "import.packed", "the file is packed with bzip2",
     "Unpack it first: bzip2 -dc FILE | sluice entity import TYPE -"},
    {"\xfd\x37zXZ"sv, "import.packed", "the file is packed with xz",
     "Unpack it first: xz -dc FILE | sluice entity import TYPE -"},
    {"\x28\xb5\x2f\xfd"sv, "import.packed", "the file is packed with zstd",
     "Unpack it first: zstd -dc FILE | sluice entity import TYPE -"},
    {"\xd0\xcf\x11\xe0"sv, "import.workbook", "the file is a workbook of Excel (.xls), not CSV",
     kSaveAsCsv},
    {"%PDF-"sv, "import.not_text", "the file is a PDF, not CSV", "Export the table as CSV"},
    {"PAR1"sv, "import.not_text", "the file is Parquet, not CSV or NDJSON",
     "Write it as CSV first, such as with DuckDB: duckdb -c \"copy 'FILE' to 'FILE.csv'\""},
    {"SQLite format 3"sv, "import.not_text", "the file is a database of SQLite, not CSV",
     "Export the table as CSV: sqlite3 -header -csv FILE 'select * from TABLE'"},
    {"{\\rtf"sv, "import.not_text", "the file is a text document (.rtf), not CSV",
     "Export the table as CSV"},
}};

[[noreturn]] void refuse(const char* code, const char* message, const char* hint) {
  throw Failure(Error(ErrorKind::bad_input, code, message, hint));
}

/// Excel's and LibreOffice's files are zip archives with parts of these names.
void refuse_zip(std::string_view beginning) {
  for (const std::string_view part : {"[Content_Types].xml"sv, "_rels/"sv, "xl/"sv, "docProps/"sv})
    if (beginning.find(part) != std::string_view::npos)
      refuse("import.workbook", "the file is a workbook (.xlsx), not CSV", kSaveAsCsv);
  if (beginning.find("opendocument") != std::string_view::npos)
    refuse("import.workbook", "the file is a document of LibreOffice (.ods), not CSV", kSaveAsCsv);
  refuse("import.packed", "the file is a zip archive",
         "Unpack it first: unzip -p FILE | sluice entity import TYPE -");
}

std::string_view behind_blanks(std::string_view text) {
  const auto at = text.find_first_not_of(" \t\r\n");
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

/// A header may begin with a bracket, as in [id],[name].
bool is_json_array(std::string_view text) {
  if (!text.starts_with('[')) return false;
  const std::string_view inside = behind_blanks(text.substr(1));
  return inside.starts_with('{') || inside.starts_with('[') || inside.starts_with(']');
}

bool is_json_object(std::string_view text) {
  if (!text.starts_with('{')) return false;
  const std::string_view inside = behind_blanks(text.substr(1));
  return inside.starts_with('"') || inside.starts_with('}');
}

}  // namespace

void refuse_other_files(std::string_view beginning, bool as_csv) {
  for (const Kind& kind : kKinds)
    if (beginning.starts_with(kind.magic)) refuse(kind.code, kind.message, kind.hint);
  if (beginning.starts_with("PK\x03\x04")) refuse_zip(beginning);
  if (beginning.starts_with("\xef\xbb\xbf")) beginning.remove_prefix(3);
  const std::string_view text = behind_blanks(beginning);
  if (is_json_array(text)) {
    refuse("import.json", "the file is one JSON array, and an import reads CSV or NDJSON",
           "One object a line is NDJSON: jq -c '.[]' FILE > FILE.ndjson");
  }
  if (as_csv && is_json_object(text)) {
    refuse("import.json", "the file is JSON, not CSV",
           "One object a line is NDJSON: say --format ndjson (?format=ndjson), or call it "
           "FILE.ndjson; one of many lines becomes that by jq -c . FILE");
  }
}

}  // namespace sluice::model
