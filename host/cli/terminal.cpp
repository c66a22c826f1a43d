#include "cli/terminal.hpp"

#include <termios.h>
#include <unistd.h>

#include <cctype>
#include <csignal>
#include <cstdio>
#include <iostream>

namespace sluice::cli {
namespace {

termios before_question;

void show_again(int number) {
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before_question);
  std::signal(number, SIG_DFL);
  ::raise(number);
}

/// While it lives, what is typed is not shown.
class Unseen {
 public:
  Unseen() {
    if (::tcgetattr(STDIN_FILENO, &before_question) != 0) return;
    termios unseen = before_question;
    unseen.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    unseen.c_lflag |= ECHONL;
    interrupt_ = std::signal(SIGINT, show_again);
    terminate_ = std::signal(SIGTERM, show_again);
    is_set_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &unseen) == 0;
  }
  ~Unseen() {
    if (is_set_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_question);
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;

 private:
  bool is_set_ = false;
  void (*interrupt_)(int) = SIG_DFL;
  void (*terminate_)(int) = SIG_DFL;
};

std::string line_without_blanks() {
  std::string line;
  std::getline(std::cin, line);
  const auto is_blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!line.empty() && is_blank(line.back())) line.pop_back();
  return line;
}

}  // namespace

bool can_ask() { return ::isatty(STDIN_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0; }

std::string ask_secret(const std::string& question) {
  std::cout.flush();
  const Unseen unseen;
  std::cerr << question << ": " << std::flush;
  return line_without_blanks();
}

bool ask(const std::string& question, const std::string& expected) {
  std::cout.flush();
  std::cerr << question << ' ' << std::flush;
  std::string answer = line_without_blanks();
  if (expected != "y") return answer == expected;
  for (char& c : answer) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return answer == "y" || answer == "yes";
}

}  // namespace sluice::cli
