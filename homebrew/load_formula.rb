# Loads a formula with a stand-in for Homebrew's words, and prints as JSON what it says.
#
#     ruby load_formula.rb umad.rb
#
# It finds a word that is misspelt, a block that is missing and a resource without a checksum, on
# machines that have Ruby and no Homebrew. It installs nothing, and is no replacement for `brew audit`.
require "json"
require "pathname"

FACTS = { "resources" => {}, "depends_on" => [], "service" => {}, "blocks" => [] }

module Language
  module Python
    module Virtualenv
      def virtualenv_install_with_resources = FACTS["blocks"] << "virtualenv"
    end
  end
end

# A resource's own words.
class StandInResource
  def initialize(system)
    @facts = { "system" => system }
  end

  attr_reader :facts

  def url(text) = @facts["url"] = text
  def sha256(text) = @facts["sha256"] = text
end

# The words of a service block.
class StandInService
  def run(words) = FACTS["service"]["run"] = Array(words).map(&:to_s)
  def keep_alive(value) = FACTS["service"]["keep_alive"] = value
  def process_type(value) = FACTS["service"]["process_type"] = value
  def log_path(value) = FACTS["service"]["log_path"] = value.to_s
  def error_log_path(value) = FACTS["service"]["error_log_path"] = value.to_s
  def opt_bin = Pathname.new("/opt/homebrew/opt/umad/bin")
  def var = Pathname.new("/opt/homebrew/var")
end

# The words of a formula's class.
class Formula
  class << self
    %w[desc homepage url sha256].each do |word|
      define_method(word) { |text| FACTS[word] = text }
    end

    def license(value) = FACTS["license"] = value

    def depends_on(what)
      name, tags = what.is_a?(Hash) ? what.first : [what, nil]
      FACTS["depends_on"] << [name, tags.to_s]
    end

    def resource(name, &block)
      raise "two resources are called #{name}" if FACTS["resources"].key?(name)

      found = StandInResource.new(@system)
      found.instance_eval(&block)
      FACTS["resources"][name] = found.facts
    end

    def on_macos(&) = on("macos", &)
    def on_linux(&) = on("linux", &)

    def service(&) = StandInService.new.instance_eval(&)

    def test(&block)
      FACTS["blocks"] << "test" if block
    end

    private

    def on(system)
      @system = system
      yield
    ensure
      @system = nil
    end
  end
end

load File.expand_path(ARGV.fetch(0))
formula = Umad.new
formula.install
FACTS["caveats"] = formula.caveats
puts JSON.generate(FACTS)
