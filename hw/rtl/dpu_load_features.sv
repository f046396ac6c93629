/// Executes LOAD_FEATURES: brings feature maps from DDR into the feature memory, as docs/isa.md says.
///
/// A few cycles find which bytes of a row are read (feature_extent). Then one request a row goes to the reader
/// (row_requests), ahead of the data; windows of the reader's bytes (feature_windows) become one write a cycle
/// (feature_former). A pixel takes the longer of one cycle and its bytes' time on the bus, alignment apart; padding
/// hides behind the bus where a pixel is more than one bus word. With `upsample` each row is read twice.
/// First request: about twelve cycles after start_i (feature_extent). done_o: two cycles after the last write. The next
/// instruction is taken when all rows are requested: its own requests go out while the data of the one before come.
/// An AXI error stops the oldest instruction, also when the word belongs to the next one.
module dpu_load_features
  import isa_pkg::*;
#(
    parameter int unsigned Inputs   = 16,
    parameter int unsigned BusBytes = 8
) (
    input  logic                                  clk_i,
    input  logic                                  rst_ni,
    // engine
    input  logic                                  start_i,
    input  logic            [InstructionBits-1:0] instr_i,
    output logic                                  ready_o,
    output logic                                  done_o,
    output logic                                  error_o,
    output isa_pkg::error_e                       error_code_o,
    input  logic                                  abort_i,
    output logic                                  idle_o,
    // reader
    output logic                                  request_valid_o,
    input  logic                                  request_ready_i,
    output logic            [               31:0] request_offset_o,
    output logic            [               23:0] request_bytes_o,
    input  logic                                  data_valid_i,
    output logic                                  data_ready_o,
    input  logic            [     BusBytes*8-1:0] data_i,
    input  logic                                  data_last_i,
    input  logic                                  range_error_i,
    input  logic                                  axi_error_i,
    // feature memory, port A
    output logic                                  fm_en_o,
    output logic            [               19:0] fm_addr_o,
    output logic            [                1:0] fm_need_o,
    output logic            [         Inputs-1:0] fm_strobe_o,
    output logic            [       Inputs*8-1:0] fm_data_o,
    input  logic                                  fm_range_i
);

  if (Inputs != 8 && Inputs != 16 && Inputs != 32) begin : gen_check_inputs
    $fatal(1, "Inputs (%0d) must be 8, 16 or 32.", Inputs);
  end
  if (BusBytes != 8 && BusBytes != 16) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must be 8 or 16.", BusBytes);
  end

  typedef enum logic [2:0] {
    Idle,
    Check,
    Extent,
    Request,
    Failed
  } state_e;

  localparam int unsigned InFlight = 3;  // windows, ring and last write: an instruction each

  state_e state_q, state_d;
  load_features_t instr_q;
  logic clear_n, run_n, illegal, found, empty, overflow, requesting;
  logic [9:0] pixel, first;
  logic [19:0] bytes;
  logic [11:0] pad_rows, rows_q;
  logic begin_requests, begin_windows, requested_q, handed_q, judged_q;
  logic window_valid, window_ready, windows_idle, last, written_q;
  logic [$clog2(InFlight+1)-1:0] flying_q;  // instructions handed to the windows and not done
  feature_pkg::window_t window;
  error_e late, late_q, error;
  logic late_flies, late_flies_q;  // it is handed to the windows

  assign clear_n = rst_ni && !abort_i;
  assign run_n   = clear_n && state_q != Failed;

  always_ff @(posedge clk_i) begin
    if (start_i) instr_q <= load_features_t'(instr_i);
  end

  // Legality, and the rows of a block that come from DDR.
  assign pixel = instr_q.half ? 10'(Inputs / 2) : 10'(Inputs);
  always_comb begin
    illegal = instr_q.blocks == 0 || instr_q.rows == 0 || instr_q.cols == 0 || instr_q.pitch == 0;
    illegal |= instr_q.lanes == 0 || instr_q.lanes > pixel;
    illegal |= instr_q.upsample && (instr_q.pitch != pixel || instr_q.lanes != pixel);
  end
  assign pad_rows = 12'(instr_q.pad_top) + 12'(instr_q.pad_bottom);
  always_ff @(posedge clk_i) begin
    if (state_q == Check) rows_q <= instr_q.rows > pad_rows ? instr_q.rows - pad_rows : '0;
  end

  feature_extent #(
      .Inputs(Inputs)
  ) u_extent (
      .clk_i,
      .rst_ni (run_n),
      .start_i(state_q == Check),
      .instr_i(instr_q),
      .valid_o(found),
      .first_o(first),
      .bytes_o(bytes),
      .empty_o(empty)
  );

  row_requests u_requests (
      .clk_i,
      .rst_ni        (run_n),
      .start_i       (begin_requests && !empty && rows_q != 0),
      .base_i        (instr_q.source + 32'(first)),
      .block_stride_i(instr_q.block_stride),
      .row_stride_i  (instr_q.row_stride),
      .blocks_i      (instr_q.blocks),
      .rows_i        (rows_q),
      .bytes_i       (bytes),
      .doubled_i     (instr_q.upsample),
      .phase_i       (instr_q.phase),
      .request_valid_o,
      .request_ready_i,
      .request_offset_o,
      .request_bytes_o,
      .active_o      (requesting),
      .overflow_o    (overflow)
  );

  feature_windows #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) u_windows (
      .clk_i,
      .rst_ni  (run_n),
      .start_i (begin_windows),
      .instr_i (instr_q),
      .first_i (first),
      .bytes_i (bytes),
      .empty_i (empty),
      .rows_i  (rows_q),
      .idle_o  (windows_idle),
      .valid_o (window_valid),
      .ready_i (window_ready),
      .window_o(window)
  );

  feature_former #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) u_former (
      .clk_i,
      .rst_ni        (run_n),
      .window_valid_i(window_valid),
      .window_ready_o(window_ready),
      .window_i      (window),
      .data_valid_i,
      .data_ready_o,
      .data_i,
      .fm_en_o,
      .fm_addr_o,
      .fm_need_o,
      .fm_strobe_o,
      .fm_data_o,
      .last_o        (last)
  );

  // Requests begin once the reader has found no fault with those of the instruction before: it has by the cycle after
  // one in which it takes a request. Windows begin when those of the instruction before have all left.
  assign begin_requests = state_q == Request && !requested_q && judged_q && late == ErrorNone;
  assign begin_windows  = requested_q && !handed_q && windows_idle && late == ErrorNone
      && flying_q != ($bits(
      flying_q
  ))'(InFlight);

  always_ff @(posedge clk_i) begin
    if (state_q == Idle) begin
      {requested_q, handed_q, judged_q} <= '0;
    end else begin
      if (begin_requests) requested_q <= 1'b1;
      if (begin_windows) handed_q <= 1'b1;
      if (request_ready_i && !request_valid_o) judged_q <= 1'b1;
    end
  end

  // The memory tells of a range in the cycle after the write.
  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      {written_q, flying_q} <= '0;
    end else begin
      written_q <= last;
      flying_q  <= flying_q + ($bits(flying_q))'(begin_windows) - ($bits(flying_q))'(written_q);
    end
  end

  // Errors that wait until the instructions before are done: the reader's, of the one that has made requests last,
  // and those of the one that has made none.
  always_comb begin
    late = late_q;
    late_flies = late_flies_q;
    if (late_q != ErrorDdrRange && (range_error_i || overflow)) begin
      late = ErrorDdrRange;
      late_flies = !requested_q || handed_q;
    end else if (late_q == ErrorNone && state_q == Check && illegal) begin
      late = ErrorIllegalInstruction;
      late_flies = 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (!run_n) late_q <= ErrorNone;
    else late_q <= late;
    late_flies_q <= late_flies;
  end

  always_comb begin
    error = ErrorNone;
    if (late_q != ErrorNone && flying_q == ($bits(flying_q))'(late_flies_q)) error = late_q;
    else if (fm_range_i) error = ErrorFeatureRange;
    else if (axi_error_i) error = ErrorAxi;
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Check;
      Check: state_d = Extent;
      Extent: if (found) state_d = Request;
      Request: if (requested_q && handed_q && !requesting && late == ErrorNone) state_d = Idle;
      default: ;
    endcase
    if (error != ErrorNone) state_d = Failed;
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n) state_q <= Idle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      {done_o, error_o} <= '0;
    end else begin
      done_o  <= written_q && error == ErrorNone;
      error_o <= error != ErrorNone;
    end
  end
  always_ff @(posedge clk_i) begin
    if (error != ErrorNone) error_code_o <= error;
  end

  assign ready_o = state_q == Idle && late_q == ErrorNone && !abort_i;
  assign idle_o  = (state_q == Idle && flying_q == 0) || state_q == Failed;

  // Rows are told apart by counting bytes.
  logic unused;
  assign unused = &{1'b0, data_last_i};

endmodule
