/// Reads instructions ahead, checks what can be told from their bits, and hands each to the queue of its engine.
///
/// An instruction is 32 bytes. While `run_i`, it is read from PROGRAM on in requests of `Chunk` instructions, none beyond
/// SIZE. `valid_o` offers the instruction at `address_o` to engine `engine_o` until `taken_i`; END is not offered, `end_o`
/// rises instead. `blocked_o`: nothing more will come, or an instruction waits to be taken. An error is told once and ends
/// the fetching: illegal_instruction (opcode, bits that must be zero, enum values, masks, PROGRAM no multiple of 32),
/// ddr_range (no whole instruction up to SIZE), axi (`axi_error_i`, as a word is taken; those behind END never are).
/// Latency: one cycle from the last word of an instruction to its offer; one instruction in 32 / BusBytes + 2 cycles.
module dpu_fetch
  import isa_pkg::*;
#(
    parameter int unsigned BusBytes = 8
) (
    input  logic                                  clk_i,
    input  logic                                  rst_ni,
    /// Fetch; low clears everything.
    input  logic                                  run_i,
    input  logic            [               31:0] program_i,
    input  logic            [               31:0] size_i,
    // reader
    output logic                                  request_valid_o,
    input  logic                                  request_ready_i,
    output logic            [               31:0] request_offset_o,
    output logic            [               23:0] request_bytes_o,
    input  logic                                  data_valid_i,
    output logic                                  data_ready_o,
    input  logic            [     BusBytes*8-1:0] data_i,
    input  logic                                  axi_error_i,
    // instructions
    output logic                                  valid_o,
    output logic            [                1:0] engine_o,
    output logic            [InstructionBits-1:0] instr_o,
    output logic            [               31:0] address_o,
    input  logic                                  taken_i,
    output logic                                  blocked_o,
    output logic                                  end_o,
    output logic                                  error_o,
    output isa_pkg::error_e                       error_code_o
);

  localparam int unsigned Bytes = InstructionBits / 8;
  localparam int unsigned Words = Bytes / BusBytes;
  localparam int unsigned Chunk = 4;

  if (BusBytes > Bytes || Bytes % BusBytes != 0) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must divide the %0d bytes of an instruction.", BusBytes, Bytes);
  end

  typedef enum logic [2:0] {
    StIdle,
    StRead,
    StCheck,
    StOffer,
    StStopped
  } state_e;

  state_e state_q;
  logic [InstructionBits-1:0] instr_q;
  logic [$clog2(Words)-1:0] word_q;
  logic [31:0] address_q, ahead_q, left;
  logic end_q, fail, running, short, faulty_q;
  error_e code;

  // Requests run ahead of what is used; the reader bounds how far.
  assign left = size_i - ahead_q;
  assign running = run_i && state_q != StIdle && state_q != StStopped && program_i[4:0] == '0;
  assign request_valid_o = running && ahead_q < size_i && left >= 32'(Bytes);
  assign request_offset_o = ahead_q;
  assign request_bytes_o = left >= 32'(Chunk * Bytes) ? 24'(Chunk * Bytes) : {left[23:5], 5'b0};

  // What the bits tell.
  logic [InstructionBits-1:0] used;
  logic [QueueCount-1:0] waitable, signalable;
  engine_e engine;
  logic known, legal;
  end_t common;
  load_weights_t weights;

  assign common  = end_t'(instr_q);
  assign weights = load_weights_t'(instr_q);

  always_comb begin
    known = 1'b1;
    used = '0;
    engine = EngineControl;
    unique case (common.opcode)
      OpEnd: used = UsedEnd;
      OpLoadFeatures: begin
        used   = UsedLoadFeatures;
        engine = EngineFeatureLoad;
      end
      OpLoadWeights: begin
        used   = UsedLoadWeights;
        engine = EngineWeightLoad;
      end
      OpConv: begin
        used   = UsedConv;
        engine = EngineCompute;
      end
      OpPool: begin
        used   = UsedPool;
        engine = EngineCompute;
      end
      OpAdd: begin
        used   = UsedAdd;
        engine = EngineCompute;
      end
      OpMultiply: begin
        used   = UsedMultiply;
        engine = EngineCompute;
      end
      OpStore: begin
        used   = UsedStore;
        engine = EngineStore;
      end
      default: known = 1'b0;
    endcase
    unique case (engine)
      EngineFeatureLoad: {waitable, signalable} = {WaitableFeatureLoad, SignalableFeatureLoad};
      EngineWeightLoad: {waitable, signalable} = {WaitableWeightLoad, SignalableWeightLoad};
      EngineCompute: {waitable, signalable} = {WaitableCompute, SignalableCompute};
      EngineStore: {waitable, signalable} = {WaitableStore, SignalableStore};
      default: {waitable, signalable} = {WaitableControl, SignalableControl};
    endcase
    legal = known && (instr_q & ~used) == '0 && (common.wait_mask & ~waitable) == '0
        && (common.signal_mask & ~signalable) == '0;
    if (common.opcode == OpLoadWeights && weights.memory > MemoryTables) legal = 1'b0;
  end

  assign short = address_q > size_i || size_i - address_q < 32'(Bytes);

  // Errors: at the instruction that is read or checked.
  always_comb begin
    fail = 1'b0;
    code = ErrorNone;
    unique case (state_q)
      StRead: begin
        fail = program_i[4:0] != '0 || short;
        code = program_i[4:0] != '0 ? ErrorIllegalInstruction : ErrorDdrRange;
      end
      StCheck: begin
        fail = !legal || faulty_q;
        code = faulty_q ? ErrorAxi : ErrorIllegalInstruction;
      end
      default: ;
    endcase
  end

  assign data_ready_o = state_q == StRead && !fail;
  assign valid_o = state_q == StOffer;
  assign engine_o = engine[1:0];
  assign instr_o = instr_q;
  assign address_o = address_q;
  assign end_o = end_q;
  assign blocked_o = valid_o || state_q == StStopped;
  assign error_o = fail;
  assign error_code_o = code;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !run_i) begin
      state_q <= StIdle;
      end_q   <= 1'b0;
    end else begin
      unique case (state_q)
        StIdle: begin
          address_q <= program_i;
          ahead_q <= program_i;
          word_q <= '0;
          faulty_q <= 1'b0;
          state_q <= StRead;
        end
        StRead:
        if (data_valid_i) begin
          instr_q <= {data_i, instr_q[InstructionBits-1:BusBytes*8]};
          if (axi_error_i) faulty_q <= 1'b1;
          word_q <= word_q == ($clog2(Words))'(Words - 1) ? '0 : word_q + 1'b1;
          if (word_q == ($clog2(Words))'(Words - 1)) state_q <= StCheck;
        end
        StCheck: begin
          state_q <= StOffer;
          if (common.opcode == OpEnd) begin
            state_q <= StStopped;
            end_q   <= 1'b1;
          end
        end
        StOffer:
        if (taken_i) begin
          address_q <= address_q + 32'(Bytes);
          state_q   <= StRead;
        end
        default: state_q <= StStopped;
      endcase
      if (request_valid_o && request_ready_i) ahead_q <= ahead_q + 32'(request_bytes_o);
      if (fail) begin
        state_q <= StStopped;
        end_q   <= 1'b0;
      end
    end
  end

endmodule
