#include "pg/plans/statement_source.hpp"

#include <cctype>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>

#include "manners/source_text.hpp"

namespace sluice::plans {
namespace {

using manners::SourceFile;

/// Reads C++ from a place on: white space, comments, words and string literals.
class Reader {
 public:
  using Texts = std::map<std::string, std::string>;
  Reader(const std::string& text, std::size_t at, const Texts& macros)
      : text_(text), at_(at), macros_(macros) {}

  void skip() {
    for (;;) {
      while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
      if (text_.compare(at_, 2, "//") != 0) return;
      at_ = std::min(text_.find('\n', at_), text_.size());
    }
  }
  bool take(std::string_view token) {
    skip();
    if (text_.compare(at_, token.size(), token) != 0) return false;
    at_ += token.size();
    return true;
  }
  std::string word() {
    skip();
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_'))
      ++at_;
    return text_.substr(begin, at_ - begin);
  }
  /// One or more literals in a row, and macros that stand for some, as one text.
  std::optional<std::string> literals() {
    std::optional<std::string> all;
    for (;;) {
      skip();
      auto one = text_.compare(at_, 2, "R\"") == 0 ? raw() : ordinary();
      if (!one) one = macro();
      if (!one) return all;
      all = all.value_or("") + *one;
    }
  }

 private:
  std::optional<std::string> raw() {
    const std::size_t open = text_.find('(', at_);
    const std::string close = ")" + text_.substr(at_ + 2, open - at_ - 2) + "\"";
    const std::size_t end = text_.find(close, open);
    if (end == std::string::npos) return std::nullopt;
    at_ = end + close.size();
    return text_.substr(open + 1, end - open - 1);
  }
  std::optional<std::string> ordinary() {
    if (at_ >= text_.size() || text_[at_] != '"') return std::nullopt;
    std::string out;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] != '\\') {
        out += text_[at_];
        continue;
      }
      const char escaped = text_[++at_];
      out += escaped == 'n' ? '\n' : escaped;
    }
    ++at_;
    return out;
  }

  std::optional<std::string> macro() {
    const std::size_t before = at_;
    const auto found = macros_.find(word());
    if (found != macros_.end()) return found->second;
    at_ = before;
    return std::nullopt;
  }

  const std::string& text_;
  std::size_t at_;
  const Texts& macros_;
};

bool begins_with_a_verb(const std::string& sql) {
  const std::size_t begin = sql.find_first_not_of(" \n");
  if (begin == std::string::npos) return false;
  for (const char* verb : {"select ", "insert ", "update ", "delete ", "with ", "(select ",
                           "SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "}) {
    if (sql.compare(begin, std::string_view(verb).size(), verb) == 0) return true;
  }
  return false;
}

/// Each place where `token` stands as a whole word in the code (not in comments or strings).
std::vector<std::size_t> places_of(const std::string& blanked, std::string_view token) {
  std::vector<std::size_t> places;
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t at = blanked.find(token); at != std::string::npos;
       at = blanked.find(token, at + 1)) {
    if (at > 0 && is_word(blanked[at - 1])) continue;
    if (at + token.size() < blanked.size() && is_word(blanked[at + token.size()])) continue;
    places.push_back(at);
  }
  return places;
}

class File {
 public:
  File(const SourceFile& source, SourceStatements& out)
      : source_(source), blanked_(manners::blank_comments_and_strings(source.text)), out_(out) {}

  void read() {
    for (const std::size_t at : places_of(blanked_, "#define")) define(at);
    for (const std::size_t at : places_of(blanked_, "string_view")) constant(at);
    for (const std::size_t at : places_of(blanked_, "Statement")) statement(at);
  }

 private:
  [[nodiscard]] std::string place(std::size_t at) const {
    return source_.path + ":" + std::to_string(manners::line_of(source_.text, at));
  }

  /// #define NAME "…", on one line or on several that end in a backslash.
  void define(std::size_t at) {
    std::string line;
    for (std::size_t i = at; i < source_.text.size() && source_.text[i] != '\n'; ++i) {
      if (source_.text.compare(i, 2, "\\\n") == 0) {
        ++i;
      } else {
        line += source_.text[i];
      }
    }
    Reader reader(line, std::string_view("#define").size(), macros_);
    const std::string name = reader.word();
    if (auto text = reader.literals()) macros_[name] = *text;
  }

  /// string_view kName = "…" or string_view kName{"…"}.
  void constant(std::size_t at) {
    Reader reader(source_.text, at + std::string_view("string_view").size(), macros_);
    const std::string name = reader.word();
    if (name.size() < 2 || name[0] != 'k' || std::isupper(static_cast<unsigned char>(name[1])) == 0)
      return;
    if (!reader.take("=") && !reader.take("{")) return;
    const auto text = reader.literals();
    if (!text) return;
    constants_[name] = *text;
    if (!begins_with_a_verb(*text)) return;
    SourceStatement found;
    found.place = place(at);
    found.name = source_.path.substr(std::string_view("host/").size()) + " " + name;
    found.sql = *text;
    out_.found.push_back(std::move(found));
  }

  /// Statement kName{"name", "…"}; a reference, a parameter or a declaration is none.
  void statement(std::size_t at) {
    Reader reader(source_.text, at + std::string_view("Statement").size(), macros_);
    const std::string name = reader.word();
    if (name.size() < 2 || name[0] != 'k' || std::isupper(static_cast<unsigned char>(name[1])) == 0)
      return;
    if (reader.take("[]")) {
      bool good = reader.take("=") && reader.take("{");
      while (good && reader.take("{")) {
        good = definition(reader, at);
        reader.take(",");
      }
      if (!good || !reader.take("}")) out_.unread.push_back(place(at) + " " + name);
      return;
    }
    if (!reader.take("{")) {
      if (!reader.take(",") && !reader.take(";")) out_.unread.push_back(place(at) + " " + name);
      return;  // extern const Statement kA, kB;
    }
    if (!definition(reader, at)) out_.unread.push_back(place(at) + " " + name);
  }

  /// "name", text }
  bool definition(Reader& reader, std::size_t at) {
    SourceStatement found;
    found.place = place(at);
    const auto given = reader.literals();
    if (!given || !reader.take(",")) return false;
    found.name = *given;
    const auto text = sum(reader);
    if (!text) return false;
    found.sql = *text;
    reader.take(",");
    if (!reader.take("}")) return false;
    out_.found.push_back(std::move(found));
    return true;
  }

  /// fmt::format("… {} …", sum, …) behind the "(".
  std::optional<std::string> format(Reader& reader) {
    const auto pattern = reader.literals();
    if (!pattern) return std::nullopt;
    std::vector<std::string> values;
    while (reader.take(",")) {
      auto value = sum(reader);
      if (!value) return std::nullopt;
      values.push_back(std::move(*value));
    }
    if (!reader.take(")")) return std::nullopt;
    std::string out;
    std::size_t next = 0;
    for (std::size_t i = 0; i < pattern->size(); ++i) {
      const std::string pair = pattern->substr(i, 2);
      if (pair == "{{" || pair == "}}") {
        out += pair[0];
        ++i;
      } else if (pair == "{}") {
        if (next == values.size()) return std::nullopt;
        out += values[next++];
        ++i;
      } else if (pair[0] == '{') {
        return std::nullopt;
      } else {
        out += pair[0];
      }
    }
    return out;
  }

  /// Literals and string_view constants of this file, added up.
  std::optional<std::string> sum(Reader& reader) {
    std::string all;
    do {
      const bool wrapped = reader.take("std::string(");
      if (auto text = reader.literals()) {
        all += *text;
      } else if (reader.take("fmt::format(")) {
        const auto made = format(reader);
        if (!made) return std::nullopt;
        all += *made;
      } else {
        const std::string name = reader.word();
        const auto constant = constants_.find(name);
        if (constant != constants_.end()) {
          all += constant->second;
        } else if (!name.empty() && reader.take("(")) {  // paged("select …"): what it is given
          const auto inner = reader.literals();
          if (!inner || !begins_with_a_verb(*inner) || !reader.take(")")) return std::nullopt;
          all += *inner;
        } else {
          return std::nullopt;
        }
      }
      if (wrapped && !reader.take(")")) return std::nullopt;
    } while (reader.take("+"));
    return all;
  }

  const SourceFile& source_;
  const std::string blanked_;
  SourceStatements& out_;
  Reader::Texts macros_, constants_;
};

}  // namespace

SourceStatements statements_of_host(const std::string& root) {
  SourceStatements out;
  for (const SourceFile& source : manners::read_sources(root, {"host"})) File(source, out).read();
  return out;
}

}  // namespace sluice::plans
