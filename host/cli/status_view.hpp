// Status documents of the host, as people read them: a line a connection, as a table of streams, as
// a picture that is drawn again, as lines.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "cli/screen.hpp"
#include "cli/table.hpp"

namespace sluice::cli {

/// {"connections": […], "own_types": […]} as the host gives it, with "host_reasons", the reasons of
/// its /health, where it was asked: one line a connection, trouble
/// first, with rows, as of when its data is, how far behind that is, and what is wrong; own types;
/// a line that sums up; and in full words what is wrong and what to do, as far as it fits.
[[nodiscard]] std::string summary_text(const json& document, const Screen& screen);

/// One line a stream, those that help another (polls of the same kind of object) folded into it
/// while all is well; below it what is wrong and what to do.
[[nodiscard]] std::string streams_text(const json& document, const Screen& screen);

/// One line a stream, for a picture: how far its run is, how fast, how long it still takes.
[[nodiscard]] std::string progress_text(const json& document);

/// "18 of 24 streams read, 20,118 records in this run, 300/s": how far all of it is.
[[nodiscard]] std::string progress_line(const json& document);

/// "3 connections: 2 well, 1 needs you; 27,975 rows".
[[nodiscard]] std::string summary_line(const json& document);

/// Nothing runs, is due, or is about to be tried again within a minute.
[[nodiscard]] bool is_quiet(const json& document);
/// Some stream failed, or waits for a person.
[[nodiscard]] bool has_trouble(const json& document);

/// Part of a text that is taller than a window: its first line, and below it as much as fits, from
/// the line `from` on; the last line says which those are. `from` comes back as it was taken.
[[nodiscard]] std::string window_of(const std::string& text, const Screen& screen,
                                    std::size_t& from);

/// Shows a document that changes, again and again. On a terminal one picture is drawn over the
/// other; elsewhere a line is written for each stream that has changed; or each document as one
/// line of JSON.
class Watch {
 public:
  enum class Form { picture, lines, json_lines };
  enum class Shows { connections, streams };
  explicit Watch(Form form, Shows shows = Shows::streams) : form_(form), shows_(shows) {}
  /// A picture when standard output is a terminal, else lines.
  [[nodiscard]] static Form form_for_output(bool as_json);

  void show(const json& document);
  /// Instead of a document: why there is none right now.
  void say(const std::string& text);
  /// By so many lines (negative: up), and draws again what was shown last.
  void scroll(long lines);
  /// A page of the window less one line.
  [[nodiscard]] static long page_lines();

 private:
  void draw(const std::string& text);
  Form form_;
  Shows shows_;
  bool drawn_ = false;
  std::size_t from_ = 0;                     ///< how far a person has scrolled
  std::string text_;                         ///< what was drawn last, whole
  std::map<std::string, std::string> said_;  ///< what was last said of each stream
};

/// The lines of `text`, none wider than `columns`.
[[nodiscard]] std::string cut_lines(const std::string& text, std::size_t columns);

}  // namespace sluice::cli
