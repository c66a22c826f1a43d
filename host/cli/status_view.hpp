// Status documents of the host, as people read them: as a table, as a picture that is drawn again,
// as lines.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "cli/table.hpp"

namespace sluice::cli {

/// {"connections": […]} as the host gives it: tables of connections and streams, and below them in
/// full words what is wrong and what to do.
[[nodiscard]] std::string status_text(const json& document);

/// One line a stream, for a picture: how far its run is, how fast, how long it still takes.
[[nodiscard]] std::string progress_text(const json& document);

/// Nothing runs, is due, or is about to be tried again within a minute.
[[nodiscard]] bool is_quiet(const json& document);
/// Some stream failed, or waits for a person.
[[nodiscard]] bool has_trouble(const json& document);

/// Shows a document that changes, again and again. On a terminal one picture is drawn over the
/// other; elsewhere a line is written for each stream that has changed; or each document as one
/// line of JSON.
class Watch {
 public:
  enum class Form { picture, lines, json_lines };
  explicit Watch(Form form) : form_(form) {}
  /// A picture when standard output is a terminal, else lines.
  [[nodiscard]] static Form form_for_output(bool as_json);

  void show(const json& document);
  /// Instead of a document: why there is none right now.
  void say(const std::string& text);

 private:
  void draw(const std::string& text);
  Form form_;
  bool drawn_ = false;
  std::map<std::string, std::string> said_;  ///< what was last said of each stream
};

/// The lines of `text`, none wider than `columns`.
[[nodiscard]] std::string cut_lines(const std::string& text, std::size_t columns);

}  // namespace sluice::cli
