#include "model/csv.hpp"

#include <algorithm>
#include <utility>

namespace sluice::model {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::int64_t newlines_in(std::string_view text) {
  return std::count(text.begin(), text.end(), '\n');
}

/// One more field, with the storage of whatever stood in its place.
std::string* next_field(CsvRecord& record) {
  if (record.field_count++ >= kCsvFieldsKept) return nullptr;
  if (record.fields.size() < record.field_count) record.fields.emplace_back();
  std::string& field = record.fields[record.field_count - 1];
  field.clear();
  return &field;
}

/// Reads the field that begins with a quote; returns where it ends. The quotes are sound.
std::size_t read_quoted(std::string_view text, std::size_t at, std::string* field) {
  for (++at;;) {
    const std::size_t quote = text.find('"', at);
    if (field) field->append(text, at, quote - at);
    at = quote + 1;
    if (at >= text.size() || text[at] != '"') return at;
    if (field) field->push_back('"');
    ++at;
  }
}

void split(std::string_view text, char separator, bool skips_space, CsvRecord& record) {
  record.field_count = 0;
  for (std::size_t at = 0;; ++at) {
    std::string* field = next_field(record);
    while (skips_space && at < text.size() && text[at] == ' ') ++at;
    if (at < text.size() && text[at] == '"') {
      at = read_quoted(text, at, field);
    } else {
      const std::size_t end = std::min(text.find(separator, at), text.size());
      if (field) field->append(text, at, end - at);
      at = end;
    }
    if (at >= text.size()) break;
  }
  record.fields.resize(std::min(record.field_count, kCsvFieldsKept));
}

}  // namespace

void CsvParser::feed(std::string_view bytes) {
  if (begin_ > 0) {
    held_.erase(0, begin_);
    at_ -= begin_;
    quote_ -= std::min(quote_, begin_);
    begin_ = 0;
  }
  held_ += bytes;
}

bool CsvParser::next(CsvRecord& record) {
  if (!past_byte_order_mark()) return false;
  for (;;) {
    if (state_ == State::skipping) return skip_line(record);
    if (begin_ == held_.size()) return false;
    switch (scan()) {
      case Seen::nothing_yet:
        return false;
      case Seen::line_end:
        if (take_record(record)) return true;
        break;
      case Seen::fault:
        refuse();
        break;
    }
  }
}

bool CsvParser::past_byte_order_mark() {
  if (begun_) return true;
  const bool may_come = held_.size() < kByteOrderMark.size() && kByteOrderMark.starts_with(held_);
  if (may_come && !ended_) return false;
  begun_ = true;
  if (held_.starts_with(kByteOrderMark)) begin_at(kByteOrderMark.size());
  return true;
}

CsvParser::Seen CsvParser::scan() {
  // Behind the last byte that a record may have comes its line's end, or it is too long: so it is
  // the same wherever the pieces end.
  const std::size_t limit = begin_ + limits_.record_bytes;
  const std::size_t end = std::min(held_.size(), limit);
  for (;;) {
    if (at_ == end) return at_the_end();
    Seen seen = Seen::nothing_yet;
    switch (state_) {
      case State::quoted:
        seen = scan_quoted(end);
        break;
      case State::field_start:
      case State::unquoted:
        seen = scan_unquoted(end);
        break;
      default:
        seen = scan_after_quote();
        break;
    }
    if (seen != Seen::nothing_yet) return seen;
  }
}

CsvParser::Seen CsvParser::at_the_end() {
  if (at_ < held_.size()) {
    if (state_ == State::quoted) return fault(RecordFault::quote_too_long);
    return held_[at_] == '\n' ? Seen::line_end : fault(RecordFault::too_long);
  }
  if (!ended_) return Seen::nothing_yet;
  return state_ == State::quoted ? fault(RecordFault::unclosed_quote) : Seen::line_end;
}

CsvParser::Seen CsvParser::scan_quoted(std::size_t end) {
  const std::string_view rest = std::string_view(held_).substr(at_, end - at_);
  const std::size_t quote = rest.find('"');
  newlines_ += newlines_in(rest.substr(0, quote));
  if (stray_ >= limits_.stray_quotes && newlines_ >= limits_.record_lines)
    return fault(RecordFault::quote_spans_too_much);
  at_ = quote == std::string_view::npos ? end : at_ + quote + 1;
  if (quote != std::string_view::npos) state_ = State::after_quote;
  return Seen::nothing_yet;
}

CsvParser::Seen CsvParser::scan_unquoted(std::size_t end) {
  if (state_ == State::field_start && skips_space_ && held_[at_] == ' ') {
    ++at_;
    return Seen::nothing_yet;
  }
  if (state_ == State::field_start && held_[at_] == '"') {
    quote_ = at_++;
    state_ = State::quoted;
    return Seen::nothing_yet;
  }
  state_ = State::unquoted;
  const char* byte = held_.data() + at_;
  const char* const last = held_.data() + end;
  while (byte != last && *byte != separator_ && *byte != '\n') ++byte;
  at_ = static_cast<std::size_t>(byte - held_.data());
  if (byte == last) return Seen::nothing_yet;
  if (*byte == '\n') return Seen::line_end;
  ++at_;
  state_ = State::field_start;
  return Seen::nothing_yet;
}

CsvParser::Seen CsvParser::scan_after_quote() {
  const char c = held_[at_];
  if (c == '\n') return Seen::line_end;
  if (state_ == State::carriage_return) return fault(RecordFault::text_after_quote);
  ++at_;
  if (c == '"') {
    state_ = State::quoted;
  } else if (c == separator_) {
    state_ = State::field_start;
  } else if (c == '\r') {
    state_ = State::carriage_return;
  } else {
    return fault(RecordFault::text_after_quote);
  }
  return Seen::nothing_yet;
}

CsvParser::Seen CsvParser::fault(RecordFault fault) {
  refused_.fault = fault;
  return Seen::fault;
}

bool CsvParser::take_record(CsvRecord& record) {
  std::string_view text = std::string_view(held_).substr(begin_, at_ - begin_);
  if (text.ends_with('\r')) text.remove_suffix(1);
  const bool blank = text.empty();
  if (blank) {
    ++line_;
    ++blank_;
  } else {
    record.fault = RecordFault::none;
    record.line = line_;
    record.lines = newlines_ + 1;
    record.quote_line = 0;
    split(text, separator_, skips_space_, record);
    line_ += record.lines;
  }
  begin_at(std::min(at_ + 1, held_.size()));
  return !blank;
}

/// The record ends with the line on which its quotes opened, or which made it too long.
void CsvParser::refuse() {
  const bool in_quotes = refused_.fault != RecordFault::too_long;
  const std::size_t last = in_quotes ? quote_ : at_;
  refused_.line = line_;
  refused_.lines = 1 + newlines_in(std::string_view(held_).substr(begin_, last - begin_));
  refused_.quote_line = in_quotes ? line_ + refused_.lines - 1 : 0;
  if (in_quotes) ++stray_;
  begin_at(last);
  state_ = State::skipping;
}

bool CsvParser::skip_line(CsvRecord& record) {
  const std::size_t newline = held_.find('\n', begin_);
  const bool whole = newline != std::string::npos;
  begin_at(whole ? newline + 1 : held_.size());
  if (!whole && !ended_) {
    state_ = State::skipping;
    return false;
  }
  record.fault = refused_.fault;
  record.line = refused_.line;
  record.lines = refused_.lines;
  record.quote_line = refused_.quote_line;
  record.fields.clear();
  record.field_count = 0;
  line_ += record.lines;
  return true;
}

void CsvParser::begin_at(std::size_t next) {
  begin_ = at_ = next;
  newlines_ = 0;
  state_ = State::field_start;
}

}  // namespace sluice::model
