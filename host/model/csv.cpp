#include "model/csv.hpp"

namespace sluice::model {
namespace {
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
}

void CsvParser::feed(std::string_view bytes, std::vector<CsvRecord>& out) {
  for (const char c : bytes) {
    if (mark_bytes_ < 3) {
      if (c == kByteOrderMark[static_cast<std::size_t>(mark_bytes_)]) {
        ++mark_bytes_;
        continue;
      }
      // No mark after all: what looked like one is data.
      const auto held = kByteOrderMark.substr(0, static_cast<std::size_t>(mark_bytes_));
      mark_bytes_ = 3;
      for (const char h : held) take(h, out);
    }
    take(c, out);
  }
}

void CsvParser::finish(std::vector<CsvRecord>& out) {
  if (mark_bytes_ < 3) {
    const auto held = kByteOrderMark.substr(0, static_cast<std::size_t>(mark_bytes_));
    mark_bytes_ = 3;
    for (const char h : held) take(h, out);
  }
  if (carriage_return_) {
    carriage_return_ = false;  // a final CR without LF ends the record as well
  }
  if (state_ == State::quoted) record_.fault = RecordFault::unclosed_quote;
  if (record_bytes_ > 0) end_record(out);
}

void CsvParser::take(char c, std::vector<CsvRecord>& out) {
  if (record_bytes_ == 0) record_.line = line_;
  if (c == '\n') ++line_;
  if (state_ == State::quoted) {
    if (c == '"') {
      state_ = State::quote_in_quoted;
      ++record_bytes_;
    } else {
      append(c);
    }
    return;
  }
  if (carriage_return_) {
    carriage_return_ = false;
    if (c == '\n') return end_record(out);
    take_plain('\r', out);
    // A lone CR is data, so it may have ended nothing.
  }
  if (c == '\r') {
    carriage_return_ = true;
    return;
  }
  if (c == '\n') return end_record(out);
  take_plain(c, out);
}

void CsvParser::take_plain(char c, std::vector<CsvRecord>&) {
  switch (state_) {
    case State::field_start:
      if (c == '"') {
        state_ = State::quoted;
        ++record_bytes_;
        return;
      }
      [[fallthrough]];
    case State::unquoted:
      if (c == separator_) {
        ++record_bytes_;
        return end_field();
      }
      state_ = State::unquoted;
      return append(c);
    case State::quote_in_quoted:
      if (c == '"') {
        state_ = State::quoted;
        return append('"');
      }
      if (c == separator_) {
        ++record_bytes_;
        return end_field();
      }
      if (record_.fault == RecordFault::none) record_.fault = RecordFault::text_after_quote;
      state_ = State::unquoted;
      return append(c);
    case State::quoted:
      return append(c);
  }
}

void CsvParser::append(char c) {
  ++record_bytes_;
  if (record_bytes_ > kImportRecordBytesMax) {
    record_.fault = RecordFault::too_long;
    record_.fields.clear();
    field_.clear();
    return;
  }
  field_ += c;
}

void CsvParser::end_field() {
  state_ = State::field_start;
  if (record_bytes_ > kImportRecordBytesMax) {
    record_.fault = RecordFault::too_long;
    record_.fields.clear();
    field_.clear();
    return;
  }
  record_.fields.push_back(std::move(field_));
  field_.clear();
}

void CsvParser::end_record(std::vector<CsvRecord>& out) {
  if (record_bytes_ > 0) {
    end_field();
    out.push_back(std::move(record_));
  }
  record_ = CsvRecord();
  record_bytes_ = 0;
  state_ = State::field_start;
}

}  // namespace sluice::model
