#include "pg/diagnosis.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>

namespace sluice::pg {
namespace {

constexpr std::size_t kStatementCharactersMax = 120;
constexpr std::string_view kInDoubtHint =
    "read back whether the change is there before doing it again";

std::string_view first_word(std::string_view sql) {
  const auto start = sql.find_first_not_of(" \t\r\n(");
  if (start == std::string_view::npos) return {};
  sql.remove_prefix(start);
  return sql.substr(0, sql.find_first_of(" \t\r\n;("));
}

bool same_word(std::string_view word, std::string_view upper) {
  return std::ranges::equal(word, upper, [](char a, char b) {
    return (a >= 'a' && a <= 'z' ? static_cast<char>(a - 'a' + 'A') : a) == b;
  });
}

std::string_view field(const pg_result* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text ? std::string_view(text) : std::string_view();
}

bool is_class(std::string_view sqlstate, std::string_view prefix) {
  return sqlstate.starts_with(prefix);
}

// Data exceptions quote the offending value behind a colon: `invalid input syntax for type integer:
// "x"`.
std::string without_values(std::string_view message, std::string_view sqlstate) {
  if (!is_class(sqlstate, "22")) return std::string(message);
  const auto quote = message.find(": \"");
  if (quote == std::string_view::npos) {
    const auto lone = message.find('"');
    if (lone == std::string_view::npos) return std::string(message);
    return std::string(message.substr(0, lone)) + "(value left out)";
  }
  return std::string(message.substr(0, quote)) + " (value left out)";
}

// A constraint's detail is `Key (columns)=(values) …` or the whole row; only the columns may be
// told.
std::string detail_without_values(std::string_view detail, std::string_view sqlstate) {
  if (is_class(sqlstate, "22")) return {};
  if (!is_class(sqlstate, "23")) return std::string(detail);
  const auto values = detail.find(")=(");
  if (!detail.starts_with("Key (") || values == std::string_view::npos) return {};
  return std::string(detail.substr(0, values + 1));
}

std::string_view hint_for(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::retry_later:
      return "the same call may succeed later";
    case ErrorKind::reconnect:
      return "nothing was changed; use a new connection";
    case ErrorKind::unknown_outcome:
      return kInDoubtHint;
    default:
      return "";
  }
}

QueryError broken(std::string_view code, ErrorKind kind, std::string_view what,
                  std::string_view sql, std::string_view sqlstate) {
  std::string message(what);
  if (!sql.empty()) message += fmt::format(" [{}]", beginning_of(sql));
  Error error(kind, std::string(code), std::move(message), std::string(hint_for(kind)));
  return QueryError(std::move(error), std::string(sqlstate), {});
}

QueryError broken_or_in_doubt(std::string_view code, ErrorKind kind, std::string_view what,
                              std::string_view sql, Loss loss) {
  if (loss == Loss::nothing_done) return broken(code, kind, what, sql, {});
  const std::string in_doubt = fmt::format("whether it was committed is not known: {}", what);
  return broken("pg.unknown_outcome", ErrorKind::unknown_outcome, in_doubt, sql, {});
}

// libpq ends its messages with a newline and, when verbose, adds a LOCATION line of the server's
// source.
std::string tidy(std::string_view message) {
  std::string out;
  while (!message.empty()) {
    const auto end = std::min(message.find('\n'), message.size());
    const auto line = message.substr(0, end);
    message.remove_prefix(std::min(end + 1, message.size()));
    const bool location =
        line.find(".c:") != std::string_view::npos && line.find(", ") != std::string_view::npos;
    if (line.empty() || location) continue;
    if (!out.empty()) out += "; ";
    out += line;
  }
  return out;
}

bool looks_like_sqlstate(std::string_view text) {
  return text.size() == 5 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
         });
}

// "connection to server … failed: FATAL:  28P01: password authentication failed …", in any
// language.
std::string sqlstate_in(std::string_view message) {
  for (std::size_t at = message.find(":  "); at != std::string_view::npos;
       at = message.find(":  ", at + 1)) {
    const auto code = message.substr(std::min(at + 3, message.size())).substr(0, 5);
    if (looks_like_sqlstate(code) && message.substr(at + 3 + 5).starts_with(": ")) {
      return std::string(code);
    }
  }
  return {};
}

}  // namespace

bool is_commit(std::string_view sql) {
  const auto word = first_word(sql);
  return same_word(word, "COMMIT") || same_word(word, "END");
}

bool is_plain_read(std::string_view sql) {
  constexpr std::array<std::string_view, 16> kReads = {
      "SELECT", "SHOW", "VALUES", "TABLE", "EXPLAIN", "BEGIN",    "START",   "ROLLBACK",
      "ABORT",  "SET",  "RESET",  "FETCH", "LISTEN",  "UNLISTEN", "DISCARD", "DEALLOCATE"};
  const auto word = first_word(sql);
  return std::ranges::any_of(kReads, [&](std::string_view read) { return same_word(word, read); });
}

ErrorKind kind_of_sqlstate(std::string_view s) {
  if (s == "40003" || s == "08007") return ErrorKind::unknown_outcome;
  if (ends_connection(s)) return ErrorKind::reconnect;
  if (is_class(s, "40") || is_class(s, "53") || s == "55P03" || s == "55006" || s == "57014" ||
      s == "57P03") {
    return ErrorKind::retry_later;
  }
  if (s == "23505" || s == "23P01") return ErrorKind::conflict;
  if (is_class(s, "22") || is_class(s, "23") || is_class(s, "54")) return ErrorKind::bad_input;
  if (s == "42501" || is_class(s, "28")) return ErrorKind::denied;
  if (s == "3D000") return ErrorKind::not_found;
  return ErrorKind::internal;
}

bool ends_connection(std::string_view s) {
  return is_class(s, "08") || s == "57P01" || s == "57P02" || s == "57P04" || s == "57P05" ||
         s == "25P03";
}

std::string beginning_of(std::string_view sql) {
  std::string out;
  bool space = false;
  for (const char c : sql) {
    if (out.size() >= kStatementCharactersMax) break;
    const bool blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (blank && (space || out.empty())) continue;
    space = blank;
    out.push_back(blank ? ' ' : c);
  }
  if (sql.size() > kStatementCharactersMax && out.size() >= kStatementCharactersMax) {
    // Do not end inside a UTF-8 sequence.
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
    out += "…";
  }
  return out;
}

QueryError refused(const pg_result* result, std::string_view sql, Loss loss) {
  const std::string sqlstate(field(result, PG_DIAG_SQLSTATE));
  const std::string said = without_values(field(result, PG_DIAG_MESSAGE_PRIMARY), sqlstate);
  const std::string detail = detail_without_values(field(result, PG_DIAG_MESSAGE_DETAIL), sqlstate);
  const std::string constraint(field(result, PG_DIAG_CONSTRAINT_NAME));

  ErrorKind kind = kind_of_sqlstate(sqlstate);
  std::string code = "pg.refused";
  if (ends_connection(sqlstate)) {
    code = "pg.lost";
    if (loss == Loss::in_doubt) kind = ErrorKind::unknown_outcome;
  }
  // DDL since the statement was prepared; the connection forgets it and prepares it anew.
  const bool stale_plan =
      sqlstate == "0A000" && field(result, PG_DIAG_SOURCE_FUNCTION) == "RevalidateCachedQuery";
  if (stale_plan || sqlstate == "26000") kind = ErrorKind::retry_later;
  if (kind == ErrorKind::unknown_outcome) code = "pg.unknown_outcome";
  const bool disk_full = sqlstate == "53100";
  if (disk_full) code = kDiskFull;

  std::string message = fmt::format(
      "{}: {}", disk_full ? "the database's disk is full" : "PostgreSQL refused a statement", said);
  if (!detail.empty()) message += fmt::format(" ({})", detail);
  if (!constraint.empty()) message += fmt::format(" (constraint {})", constraint);
  if (!disk_full) message += fmt::format(" [SQLSTATE {}] [{}]", sqlstate, beginning_of(sql));
  Error error(kind, std::move(code), std::move(message),
              std::string(disk_full ? kDiskFullHint : hint_for(kind)));
  return QueryError(std::move(error), sqlstate, constraint);
}

QueryError lost(std::string_view reason, std::string_view sql, Loss loss) {
  const std::string what = fmt::format("the connection to PostgreSQL broke: {}", tidy(reason));
  return broken_or_in_doubt("pg.lost", ErrorKind::reconnect, what, sql, loss);
}

QueryError missed_deadline(std::string_view sql, Loss loss) {
  return broken_or_in_doubt("pg.deadline", ErrorKind::retry_later,
                            "PostgreSQL did not answer within the deadline", sql, loss);
}

QueryError cancelled(std::string_view sql, Loss loss) {
  return broken_or_in_doubt("pg.cancelled", ErrorKind::cancelled, "the call was cancelled", sql,
                            loss);
}

QueryError connect_failed(std::string_view message, std::string_view target) {
  const std::string sqlstate = sqlstate_in(message);
  ErrorKind kind = sqlstate.empty() ? ErrorKind::reconnect : kind_of_sqlstate(sqlstate);
  std::string hint = "check that the server runs and that the connection string names it";
  if (kind == ErrorKind::denied) hint = "check the user, its password and pg_hba.conf";
  if (kind == ErrorKind::not_found) hint = "create the database, or name another one";
  if (kind == ErrorKind::retry_later) hint = "the same call may succeed later";
  if (kind == ErrorKind::internal) kind = ErrorKind::reconnect;
  Error error(kind, "pg.connect_failed",
              fmt::format("cannot connect to PostgreSQL at {}: {}", target, tidy(message)),
              std::move(hint));
  return QueryError(std::move(error), sqlstate, {});
}

}  // namespace sluice::pg
