#include "model/ndjson.hpp"

#include <algorithm>

namespace sluice::model {

void NdjsonParser::feed(std::string_view bytes, std::vector<NdjsonLine>& out) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (current_.fault == RecordFault::none) {
      if (current_.text.size() + piece.size() > kImportRecordBytesMax) {
        current_.fault = RecordFault::too_long;
        current_.text = "…";
      } else {
        current_.text += piece;
      }
    }
    if (end == std::string_view::npos) return;
    end_line(out);
    bytes.remove_prefix(end + 1);
  }
}

void NdjsonParser::finish(std::vector<NdjsonLine>& out) {
  if (!current_.text.empty()) end_line(out);
}

void NdjsonParser::end_line(std::vector<NdjsonLine>& out) {
  current_.line = line_++;
  std::string& text = current_.text;
  if (text.ends_with('\r')) text.pop_back();
  if (current_.line == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  const bool blank = std::all_of(text.begin(), text.end(),
                                 [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
  if (blank) ++blank_;
  if (!blank) out.push_back(std::move(current_));
  current_ = NdjsonLine();
}

}  // namespace sluice::model
